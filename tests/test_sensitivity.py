"""Measured sensitivity: the control that spends its budget by it, and the test of the searches."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy import stats
from torch import nn

from sbs.config.scale import Scale
from sbs.config.target import Target
from sbs.errors import SBSError
from sbs.methods.context import SearchContext
from sbs.methods.sensitivity import SensitivitySettings
from sbs.methods.sensitivity.allocation import Step, allocate, benefits
from sbs.methods.sensitivity.meter import Lowered, Meter
from sbs.methods.sensitivity.search import measurements
from sbs.plots.sensitivity import open_by_benefit
from sbs.policy import Bitwidths, Policy, uniform_policy
from sbs.provenance.records import RunRecord
from sbs.registry.methods import method
from sbs.results.metrics import write_correlations
from sbs.results.sensitivity import beside, rank_correlations, spearman_interval
from tests.conftest import ROOT
from tests.searches import context_of

BITS = Bitwidths((2, 4, 8))
NAMES = ["first", "a", "b", "last"]
MACS = {"a": 1.0, "b": 10.0}


def cost_of(policy: Policy) -> float:
    chosen = {name: policy.layers[name] for name in MACS}
    return sum(MACS[n] * one.weight_bits * one.activation_bits for n, one in chosen.items())


def allocated(worth: dict[Step, float], target: float) -> dict[str, tuple[int, int]]:
    policy = allocate(uniform_policy("net", NAMES, 2), BITS, worth, cost_of, target)
    assert cost_of(policy) <= target
    return {n: (policy.layers[n].weight_bits, policy.layers[n].activation_bits) for n in MACS}


def worth_of(layer: str, side: str, four: float, eight: float) -> dict[Step, float]:
    return {(layer, side, 4): four, (layer, side, 8): eight}


WORTH = (
    worth_of("a", "weight_bits", 1.0, 0.1)
    | worth_of("a", "activation_bits", 0.5, 9.0)
    | worth_of("b", "weight_bits", 2.0, 0.0)
    | worth_of("b", "activation_bits", 1.9, 0.0)
)


def test_the_budget_goes_to_what_saves_most_per_cost() -> None:
    # All at 2 bits cost 44. Layer a is cheap: its steps come first, although b's save more.
    assert allocated(WORTH, 48) == {"a": (4, 2), "b": (2, 2)}
    # One more step of a would cost 8; b is too expensive.
    assert allocated(WORTH, 55) == {"a": (4, 2), "b": (2, 2)}
    # The step of a's input to 8 bits would save most of all, and comes after the one to 4.
    assert allocated(WORTH, 72) == {"a": (4, 8), "b": (2, 2)}
    assert allocated(WORTH, math.inf) == {"a": (8, 8), "b": (8, 8)}


def test_a_target_below_the_lowest_bits_is_refused() -> None:
    with pytest.raises(SBSError, match=r"search\.target: 43 is less than .* 44; give a larger"):
        allocated(WORTH, 43)


@pytest.fixture
def context(default_scale: Scale, digits_file: Path, tmp_path: Path) -> SearchContext:
    changes = {"target": Target.parse("3-bit"), "bitwidths": Bitwidths((2, 4))}
    search = default_scale.search.model_copy(update=changes)
    scale = default_scale.model_copy(update={"search": search})
    short = {"base_epochs": 1, "steps": 2, "images": 64}
    return context_of("sensitivity", scale, digits_file, tmp_path, **short)


def test_every_tensor_is_lowered_once_and_alone(context: SearchContext) -> None:
    meter = Meter(context, context.section(SensitivitySettings))
    first, *others = measurements(context)
    assert first == (4, None)
    assert len(set(others)) == len(others) == 2 * (len(context.layer_names) - 2)
    base = meter.policy(*first)
    for bits, lowered in others:
        assert lowered is not None
        changed = [
            (name, side, getattr(layer, side))
            for name, layer in meter.policy(bits, lowered).layers.items()
            for side in ("weight_bits", "activation_bits")
            if getattr(layer, side) != getattr(base.layers[name], side)
        ]
        assert changed == [(lowered.layer, lowered.side, 2)]


@pytest.mark.parametrize("stop", [1, 30])
def test_search_keeps_the_budget_and_goes_on_after_an_interruption(
    context: SearchContext, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    whole = method("sensitivity").load()(context)
    assert 0 < context.exact_cost()(whole.policy) <= whole.target
    for state in context.resume.glob("state-*"):
        state.unlink()
    measure, measured = Meter.loss_of, []

    def interrupted(meter: Meter, bits: int, lowered: Lowered | None) -> float:
        if len(measured) == stop:
            raise KeyboardInterrupt
        measured.append(measure(meter, bits, lowered))
        return measured[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "loss_of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            method("sensitivity").load()(context)
    resumed = method("sensitivity").load()(context)
    assert resumed.policy == whole.policy
    for key in ("layer", "side", "bits", "loss", "cost"):
        assert [e[key] for e in resumed.progression.history] == [
            e[key] for e in whole.progression.history
        ]


def test_too_few_images_to_set_aside_are_refused(
    default_scale: Scale, digits_file: Path, tmp_path: Path
) -> None:
    context = context_of("sensitivity", default_scale, digits_file, tmp_path, images=5000)
    with pytest.raises(SBSError, match=r"sensitivity\.images: 5000 of \d+ training images"):
        Meter(context, context.section(SensitivitySettings))


def test_images_set_aside_are_never_trained_on(context: SearchContext) -> None:
    meter = Meter(context, context.section(SensitivitySettings))
    aside, training = (set(part._chosen.tolist()) for part in (meter.aside, meter.training))
    assert len(aside) == 64
    assert not aside & training
    assert len(aside | training) == context.batches.images


def test_a_short_training_takes_a_batch_in_parts(
    context: SearchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = context.runtime.model_copy(update={"accumulation": 3})
    meter = Meter(replace(context, runtime=runtime), context.section(SensitivitySettings))
    sizes, build = list[tuple[bool, int]](), meter._network

    def watched(policy: Policy) -> nn.Module:
        model = build(policy)
        model.register_forward_pre_hook(
            lambda network, given: sizes.append((network.training, len(given[0])))
        )
        return model

    monkeypatch.setattr(meter, "_network", watched)
    meter.loss_of(4, None)
    trained = [size for training, size in sizes if training]
    whole = [len(batch[0]) for batch in meter.training.epoch(0)]
    assert sum(trained[: 3 * len(whole)]) == sum(whole)
    assert max(trained) == -(-max(whole) // 3)


LAYERS = [f"layer{number}" for number in range(20)]


def record_of(method_name: str, **fields: Any) -> RunRecord:
    path = ROOT / "results/measured/digits/search/resnet20/sbs_q/default/seed-0/search.json"
    record = RunRecord.load(path)
    return record.model_copy(update={"method": method_name, **fields})


def measured(worth: dict[tuple[str, str], float], costs: dict[str, float]) -> RunRecord:
    whole = {"bits": 4, "layer": None, "side": None, "loss": 1.0, "cost": 100.0}
    lowered = [
        {"bits": 4, "layer": layer, "side": side, "loss": 1 + value, "cost": 100 - costs[layer]}
        for (layer, side), value in worth.items()
    ]
    upper = [{"bits": 8, "layer": "layer0", "side": "weight_bits", "loss": 99.0, "cost": 1.0}]
    return record_of("sensitivity", history=[whole, *lowered, *upper])


def decided(method_name: str, shares: dict[tuple[str, str], float]) -> RunRecord:
    found: dict[str, dict[str, list[float]]] = {"weight_bits": {}, "activation_bits": {}}
    for (layer, side), share in shares.items():
        found[side][layer] = [share, 0.0]
    return record_of(method_name, open_shares=found)


SIDES = ("weight_bits", "activation_bits")
TENSORS = [(layer, side) for layer in LAYERS for side in SIDES]


def test_correlations_tell_a_search_by_loss_from_one_by_cost(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    costs = dict(zip(LAYERS, generator.uniform(1, 30, len(LAYERS)), strict=True))
    worth = dict(zip(TENSORS, generator.uniform(0, 0.1, len(TENSORS)), strict=True))
    rates = {key: value / -math.log(1 - costs[key[0]] / 100) for key, value in worth.items()}
    highest = max(rates.values())
    by_loss = {key: rate / highest for key, rate in rates.items()}
    by_cost = {key: 1 - costs[key[0]] / 100 for key in TENSORS}
    table = beside(
        [measured(worth, costs), decided("sbs_q", by_loss), decided("cost-only-q", by_cost)]
    )
    assert len(table) == 2 * len(TENSORS)
    found = rank_correlations(table).set_index(["method", "measure"])
    assert found.loc[("sbs_q", "benefit_per_cost"), "correlation"] == pytest.approx(1)
    independent = found.loc[("cost-only-q", "benefit")]
    assert independent["low"] < 0 < independent["high"]
    assert (found["tensors"] == len(TENSORS)).all()
    write_correlations(rank_correlations(table), tmp_path / "sensitivity.json")
    numbers = json.loads((tmp_path / "sensitivity.json").read_text())
    assert numbers["sbs_q"]["benefit_per_cost"]["correlation"] == 1
    figure = open_by_benefit(table, rank_correlations(table))
    assert len(figure.axes) == 4
    assert "SBS-Q: ρ = 1.00" in " ".join(axis.get_title() for axis in figure.axes)
    plt.close(figure)


def test_seeds_are_averaged() -> None:
    costs = dict.fromkeys(LAYERS, 10.0)
    worths = [dict.fromkeys(TENSORS, value) for value in (0.1, 0.3)]
    shares = [dict.fromkeys(TENSORS, value) for value in (0.0, 0.5)]
    records = [measured(worth, costs) for worth in worths]
    records += [decided("sbs_q", share) for share in shares]
    table = beside(records)
    assert len(table) == len(TENSORS)
    assert table["benefit"].to_numpy() == pytest.approx(0.2)
    assert table["open"].to_numpy() == pytest.approx(0.25)


def test_records_that_cannot_be_compared_are_refused() -> None:
    one = decided("sbs_q", dict.fromkeys(TENSORS, 0.5))
    with pytest.raises(SBSError, match="0 and 1 runs of resnet20"):
        beside([one])
    other = measured(dict.fromkeys(TENSORS, 0.1), dict.fromkeys(LAYERS, 1.0))
    with pytest.raises(SBSError, match="1 and 1 runs of resnet20, resnet56"):
        beside([one, other.model_copy(update={"network": "resnet56"})])
    with pytest.raises(SBSError, match="dq resnet20: the record does not say how often gates"):
        beside([other, one.model_copy(update={"method": "dq", "open_shares": None})])


def test_the_interval_covers_the_true_rank_correlation() -> None:
    # Of a bivariate normal distribution it is (6 / π) asin(ρ / 2).
    rho, size, draws = 0.6, 40, 1500
    true = 6 / math.pi * math.asin(rho / 2)
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(draws):
        pairs = generator.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size)
        low, high = spearman_interval(float(stats.spearmanr(pairs).statistic), size)
        covered += low <= true <= high
    assert 0.93 < covered / draws < 0.97


def test_benefits_are_differences_at_one_level() -> None:
    history = pd.DataFrame(
        [(4, None, None, 1.0), (4, "a", "weight_bits", 1.5), (8, None, None, 0.9)],
        columns=["bits", "layer", "side", "loss"],
    )
    entries = history.astype(object).where(history.notna(), None).to_dict("records")
    assert benefits([*entries, {"bits": 8, "layer": "a", "side": "weight_bits", "loss": 1.0}]) == {
        ("a", "weight_bits", 4): pytest.approx(0.5),
        ("a", "weight_bits", 8): pytest.approx(0.1),
    }
