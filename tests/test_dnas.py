"""Multi-path search: whose turn it is, what it is steered to, and the final choice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sbs.config.scale import Scale
from sbs.cost.exact import policy_cost
from sbs.errors import SBSError
from sbs.methods.context import SearchContext
from sbs.methods.multipath import MultipathSettings
from sbs.methods.multipath.search import Alternating, MultiPathTask
from sbs.methods.multipath.space import MultiPathSpace, sample_policies
from sbs.methods.penalty import BAND
from sbs.networks import build_network
from sbs.policy import uniform_policy
from sbs.registry.methods import method
from sbs.surgery.networks import quantized_network
from tests.gated import step
from tests.searches import context_of

CPU = torch.device("cpu")
IMAGE = (1, 8, 8)


@pytest.fixture
def context(default_scale: Scale, digits_file: Path, tmp_path: Path) -> SearchContext:
    context = context_of("dnas", default_scale, digits_file, tmp_path)
    return replace(context, settings=context.settings.model_copy(update={"epochs": 2}))


def task_of(context: SearchContext, target: float | None, **changes: Any) -> MultiPathTask:
    multipath = context.section(MultipathSettings).model_copy(update=changes)
    space = MultiPathSpace(context, "dorefa_pact")
    return MultiPathTask(space, context.settings, multipath, target, 3, 2)


def snapshot(task: MultiPathTask) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in task.model.named_parameters():
        yield name, parameter.detach().clone()


def test_weights_and_logits_learn_in_turns(context: SearchContext) -> None:
    task = task_of(context, None)
    for iteration, logits_turn in enumerate([False, False, False, True, True, False]):
        before = dict(snapshot(task))
        step(task, iteration)
        moved = {name for name, value in snapshot(task) if not torch.equal(value, before[name])}
        assert moved, iteration
        assert all(name.endswith("logits") == logits_turn for name in moved)


def test_warmup_trains_weights_alone(context: SearchContext) -> None:
    task = task_of(context, None, warmup=0.5)
    for iteration, logits_turn in [(4, False), (8, True)]:
        task.before_forward(iteration)
        assert task.trains_logits == logits_turn


def test_temperature_falls_exponentially(context: SearchContext) -> None:
    task = task_of(context, None, first_temperature=4.0, last_temperature=1.0)
    seen = []
    for iteration in (0, 5, 10):
        task.before_forward(iteration)
        seen.append(task.temperature)
    assert seen == pytest.approx([4.0, 2.0, 1.0])


def test_a_heavy_cost_makes_the_cheapest_paths_win(context: SearchContext) -> None:
    heavy = context.settings.model_copy(update={"penalty": 1000.0})
    space = MultiPathSpace(context, "dorefa_pact")
    task = MultiPathTask(space, heavy, context.section(MultipathSettings), None, 0, 20)
    for iteration in range(20):
        step(task, iteration)
    assert bool((space.probabilities().argmax(dim=1) == 0).all())


def test_expected_cost_of_a_sure_choice_is_the_exact_cost(context: SearchContext) -> None:
    space = MultiPathSpace(context, "dorefa_pact")
    chosen = [number % 3 for number in range(len(space.layers))]
    mixtures = torch.nn.functional.one_hot(torch.tensor(chosen), 3).double()
    exact = policy_cost(context.shapes, (), space.policy_of(chosen), "bops")
    assert float(space.expected_cost(mixtures)) == pytest.approx(exact, rel=1e-12)
    four = uniform_policy("resnet20", context.layer_names, 4)
    assert space.policy_of([1] * len(space.layers)).layers == four.layers


@pytest.mark.parametrize("quantizer", ["dorefa_pact", "interval"])
def test_chosen_state_is_the_network_of_the_policy(context: SearchContext, quantizer: Any) -> None:
    space = MultiPathSpace(context, quantizer)
    chosen = [number % 3 for number in range(len(space.layers))]
    for layer, path in zip(space.layers.values(), chosen, strict=True):
        layer.choose(path)
    policy = space.policy_of(chosen)
    assert policy.quantizer == quantizer
    fixed = quantized_network(build_network("resnet20", 10, 1), context.spec, policy)
    missing = fixed.load_state_dict(space.state_of(policy), strict=False)
    assert not missing.unexpected_keys
    # PACT's weights have no interval.
    assert all(key.endswith("weight_interval") for key in missing.missing_keys)
    images = torch.rand(4, *IMAGE)
    torch.testing.assert_close(
        fixed.eval()(images), space.model.eval()(images), atol=1e-4, rtol=1e-4
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 0.9))
def test_sampled_policies_lie_in_the_band(seed: int, level: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(12, 3, generator=generator)).softmax(dim=1)
    weights = torch.rand(12, generator=generator) + 0.5

    def cost_of(chosen: Any) -> float:
        return float((weights * torch.tensor([2.0, 4.0, 8.0])[list(chosen)] ** 2).sum())

    target = cost_of([0] * 12) + level * (cost_of([2] * 12) - cost_of([0] * 12))
    found = sample_policies(probabilities, cost_of, target, 5, generator)
    assert 1 <= len(found) == len(set(found)) <= 5
    assert all(cost_of(choice) <= target for choice in found)
    if len(found) > 1:
        assert all(cost_of(choice) >= (1 - BAND) * target for choice in found)


def test_sure_logits_give_one_policy() -> None:
    probabilities = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    generator = torch.Generator().manual_seed(0)
    assert sample_policies(probabilities, lambda _: 1.0, None, 3, generator) == [(0, 1)]


def test_epochs_alternate(context: SearchContext) -> None:
    numbers = torch.arange(100)
    both = Alternating(context.batches.part(numbers[:70]), context.batches.part(numbers[70:]))
    sizes = [len(labels) for _, labels in both.epoch(0)]
    assert len(both) == len(sizes) == 3
    assert sizes == [64, 6, 30]


def test_search_without_bit_sharing_is_for_quantization_alone(
    default_scale: Scale, digits_file: Path, tmp_path: Path
) -> None:
    apart = default_scale.search.model_copy(update={"bit_sharing": False, "epochs": 2})
    scale = default_scale.model_copy(update={"search": apart})
    with pytest.raises(SBSError, match="sbs_q"):
        method("sbs").load()(context_of("sbs", scale, digits_file, tmp_path))
    context = context_of("sbs_q", scale, digits_file, tmp_path)
    result = method("sbs_q").load()(context)
    assert result.policy.quantizer == "interval"
    cost = policy_cost(context.shapes, (), result.policy, "bops")
    assert result.target is not None
    assert (1 - BAND) * result.target <= cost <= result.target
