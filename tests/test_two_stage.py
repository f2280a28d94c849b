"""Searches in two stages: what the first decided is held, and how Table 7 chooses a split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sbs.config.scale import Scale
from sbs.config.target import Target
from sbs.errors import SBSError
from sbs.methods.context import SearchContext, SearchResult
from sbs.methods.penalty import BAND
from sbs.methods.single_path import TwoStageSettings, two_stage
from sbs.policy import uniform_policy
from sbs.registry.methods import method
from sbs.results.collect import collect
from sbs.results.two_stage import table7, with_best_splits
from tests.conftest import ROOT
from tests.records import record
from tests.searches import context_of

PUBLISHED = pd.read_csv(ROOT / "config" / "published.csv")
TARGET = "0.92 x 3-bit"


def context(scale: Scale, digits: Path, resume: Path, stages: str, **changes: Any) -> SearchContext:
    settings = {"stages": stages, "target": Target.parse(TARGET), "epochs": 5} | changes
    search = scale.search.model_copy(update=settings)
    return context_of("sbs", scale.model_copy(update={"search": search}), digits, resume)


def searched(one: SearchContext) -> SearchResult:
    result: SearchResult = method(one.method.name).load()(one)
    return result


@pytest.fixture
def firsts(monkeypatch: pytest.MonkeyPatch) -> list[SearchResult]:
    """The results of all searches with gates, in order."""
    found: list[SearchResult] = []
    real = two_stage.search_in

    def noted(*args: Any) -> SearchResult:
        found.append(real(*args))
        return found[-1]

    monkeypatch.setattr(two_stage, "search_in", noted)
    return found


@pytest.mark.parametrize("stages", ["prune-first", "quantize-first"])
def test_the_second_search_holds_what_the_first_decided(
    stages: str,
    default_scale: Scale,
    digits_file: Path,
    tmp_path: Path,
    firsts: list[SearchResult],
) -> None:
    one = context(default_scale, digits_file, tmp_path, stages)
    cost_of, target = one.exact_cost(), one.target_cost()
    assert target is not None
    result = searched(one)
    assert cost_of(result.policy) <= target
    first, second = (found.policy.layers for found in firsts)
    if stages == "prune-first":
        held = [(layer.kept, second[name].kept) for name, layer in first.items()]
        assert any(kept is not None for kept, _ in held)
        assert all(layer.weight_bits == 32 for layer in first.values())
        assert any(layer.weight_bits < 8 for layer in second.values())
    else:
        held = [
            ((a.weight_bits, a.activation_bits), (b.weight_bits, b.activation_bits))
            for a, b in zip(first.values(), second.values(), strict=True)
        ]
        assert all(layer.kept is None for layer in first.values())
        assert any(layer.kept is not None for layer in second.values())
    assert all(before == after for before, after in held)
    assert [entry["epoch"] for entry in result.progression.history] == [1, 2, 3, 4, 5]
    steps = [point["iteration"] for point in result.trajectory]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("stages", ["prune-first", "quantize-first"])
def test_the_first_search_has_its_share_of_the_target(
    stages: str,
    default_scale: Scale,
    digits_file: Path,
    tmp_path: Path,
    firsts: list[SearchResult],
) -> None:
    one = context(default_scale, digits_file, tmp_path, stages)
    cost_of, target = one.exact_cost(), one.target_cost()
    assert target is not None
    full = cost_of(uniform_policy("resnet20", one.layer_names, 32))
    searched(one)
    factor = one.section(TwoStageSettings).pruning_factor
    expected = factor * full if stages == "prune-first" else target / factor
    assert firsts[0].target == pytest.approx(expected)
    assert (1 - BAND) * expected <= cost_of(firsts[0].policy) <= expected


def test_a_search_killed_between_the_stages_ends_the_same(
    default_scale: Scale, digits_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = searched(context(default_scale, digits_file, tmp_path / "whole", "prune-first"))

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    for part in ("_finetuned", "_second_space"):
        with monkeypatch.context() as patch:
            patch.setattr(two_stage, part, killed)
            with pytest.raises(KeyboardInterrupt):
                searched(context(default_scale, digits_file, tmp_path / "killed", "prune-first"))
    resumed = searched(context(default_scale, digits_file, tmp_path / "killed", "prune-first"))
    assert resumed.policy == whole.policy
    assert resumed.progression.interruptions == 1
    for key in ("epoch", "loss"):
        assert [entry[key] for entry in resumed.progression.history] == [
            entry[key] for entry in whole.progression.history
        ]


def test_what_two_stages_need(default_scale: Scale, digits_file: Path, tmp_path: Path) -> None:
    def refused(**changes: Any) -> str:
        one = context(default_scale, digits_file, tmp_path, "prune-first", **changes)
        with pytest.raises(SBSError) as caught:
            searched(one)
        return str(caught.value)

    assert "search.target: a search in two stages needs a target" in refused(target=None)
    assert "search.epochs: 3 epochs, of which" in refused(epochs=3)


def test_other_methods_have_one_stage(
    default_scale: Scale, digits_file: Path, tmp_path: Path
) -> None:
    search = default_scale.search.model_copy(update={"stages": "prune-first"})
    scale = default_scale.model_copy(update={"search": search})
    with pytest.raises(SBSError, match=r"search\.stages: only sbs can search in two stages"):
        searched(context_of("sbs_p", scale, digits_file, tmp_path))


def runs_of(losses: dict[str, float], tops: dict[str, float]) -> pd.DataFrame:
    records = []
    for variant in losses:
        stages = "one" if variant == "one-stage" else "prune-first"
        facts: dict[str, Any] = {"variant": variant, "top1": tops[variant], "network": "resnet56"}
        history = [{"epoch": 1, "loss": 9.0}, {"epoch": 2, "loss": losses[variant]}]
        settings = record().settings
        settings = settings | {"search": settings["search"] | {"stages": stages}}
        records.append(record(history=history, **facts))
        records.append(record(stage="search", settings=settings, **facts))
    return collect(records)


def test_the_best_split_has_the_smallest_training_loss() -> None:
    losses = {"one-stage": 0.1, "p-then-q-little": 0.3, "p-then-q-much": 0.2}
    tops = {"one-stage": 90.0, "p-then-q-little": 99.0, "p-then-q-much": 80.0}
    runs = with_best_splits(runs_of(losses, tops))
    assert runs.set_index("variant").loc["p-then-q", ["top1", "split"]].tolist() == [
        80.0,
        "p-then-q-much",
    ]
    table = table7(runs_of(losses, tops), PUBLISHED).set_index("method")
    assert table.loc["sbs_p_then_sbs_q", ["variants", "published_top1"]].tolist() == [
        "p-then-q-much",
        70.7,
    ]
    assert table.loc["sbs_p_then_q_little", "top1_mean"] == 99.0
    assert next(iter(table.index)) == "sbs_p_then_sbs_q"


def test_without_a_training_loss_no_split_is_the_best() -> None:
    tops = {"one-stage": 90.0, "p-then-q-little": 99.0, "p-then-q-much": 80.0}
    runs = runs_of(dict.fromkeys(tops, 0.1), tops).assign(train_loss=None)
    assert with_best_splits(runs)["split"].isna().all()
    assert "sbs_p_then_sbs_q" not in set(table7(runs, PUBLISHED)["method"])
