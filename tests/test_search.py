"""Targets, λ, landing, and what a search may and may not move."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sbs.config.scale import Scale
from sbs.config.target import Target
from sbs.cost.exact import policy_cost
from sbs.cost.expected import ExpectedCost
from sbs.cost.trace import trace_layers
from sbs.errors import SBSError
from sbs.methods.penalty import BAND, FixedPenalty, SteeredPenalty, natural_penalty
from sbs.methods.single_path.landing import land
from sbs.methods.single_path.task import SearchTask, extract_policy
from sbs.networks import build_network, get_spec
from sbs.policy import Bitwidths, Policy, uniform_policy
from sbs.surgery.search import SearchSpace, search_network
from tests.devices import DEVICE

pytestmark = pytest.mark.device

IMAGE = (1, 8, 8)
SHAPES = trace_layers(build_network("resnet20", 10, 1), IMAGE)
NAMES = [shape.name for shape in SHAPES]


def space_of(*, quantize: bool = True, prune: bool = True) -> SearchSpace:
    model = build_network("resnet20", 10, 1)
    return search_network(
        model,
        get_spec("resnet20"),
        uniform_policy("resnet20", NAMES, 8 if quantize else 32),
        bitwidths=Bitwidths((2, 4, 8)) if quantize else None,
        group_size=4 if prune else None,
        standardized=True,
        placement="norm",
    )


def exact(space: SearchSpace, policy: Policy) -> float:
    return policy_cost(SHAPES, space.prunables, policy, "bops")


def task_of(space: SearchSpace, scale: Scale, penalty: float, **changes: object) -> SearchTask:
    cost = ExpectedCost(space, SHAPES, "bops", propagate=True, device=DEVICE)
    settings = scale.search.model_copy(update=changes)
    return SearchTask(space, cost, FixedPenalty(penalty, DEVICE), settings, steps=100)


def step(task: SearchTask, iteration: int) -> None:
    for optimizer in task.optimizers:
        optimizer.zero_grad(set_to_none=True)
    task.model.train()
    task.before_forward(iteration)
    task.loss(torch.rand(8, *IMAGE), torch.arange(8)).backward()  # type: ignore[no-untyped-call]
    for optimizer in task.optimizers:
        optimizer.step()


def thresholds(space: SearchSpace) -> Iterator[tuple[str, Tensor]]:
    for name, layer in space.layers.items():
        if layer.weight_gate is not None:
            yield f"weights {name}", layer.weight_gate.thresholds.detach().clone()
        if layer.activation_gate is not None:
            yield f"activations {name}", layer.activation_gate.thresholds.detach().clone()
    for name, gate in space.filter_gates.items():
        yield f"filters {name}", gate.threshold.detach().clone()


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("4-bit", Target("4-bit", 1.0, 4)),
        ("0.95 x 4-bit", Target("0.95 x 4-bit", 0.95, 4)),
        ("0.7 x full", Target("0.7 x full", 0.7, 32)),
        ("630.6e6", Target("630.6e6", 630.6e6, None)),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert Target.parse(text) == target


@pytest.mark.parametrize("text", ["cheap", "0-bit", "-3", "0 x full", "4bit", "nan"])
def test_bad_targets_are_refused(text: str) -> None:
    with pytest.raises(SBSError, match="target"):
        Target.parse(text)


def test_search_starts_at_the_highest_bitwidth_with_nothing_pruned() -> None:
    space = space_of()
    space.model.train()(torch.rand(4, *IMAGE))
    assert extract_policy(space).layers == uniform_policy("resnet20", NAMES, 8).layers


@pytest.mark.parametrize(("iteration", "moves"), [(0, "activations"), (1, "weights")])
def test_alternating_training_moves_one_side_at_a_time(
    default_scale: Scale, iteration: int, moves: str
) -> None:
    """Even iterations, counted from 1, train the weight side; momentum moves nothing else."""
    space = space_of()
    task = task_of(space, default_scale, penalty=10.0, threshold_momentum=0.9)
    step(task, 0)
    step(task, 1)
    before = dict(thresholds(space))
    step(task, iteration + 2)
    moved = {name.split()[0] for name, now in thresholds(space) if not now.equal(before[name])}
    assert moved == ({"weights", "filters"} if moves == "weights" else {"activations"})


def test_joint_training_moves_both_sides(default_scale: Scale) -> None:
    space = space_of()
    task = task_of(space, default_scale, penalty=10.0, alternating=False)
    before = dict(thresholds(space))
    step(task, 0)
    assert all(not now.equal(before[name]) for name, now in thresholds(space))


@pytest.mark.parametrize(("quantize", "prune"), [(True, False), (False, True)])
def test_sbs_q_prunes_nothing_and_sbs_p_quantizes_nothing(quantize: bool, prune: bool) -> None:
    space = space_of(quantize=quantize, prune=prune)
    kinds = {name.split()[0] for name, _ in thresholds(space)}
    assert kinds == ({"weights", "activations"} if quantize else {"filters"})


def test_steered_penalty_pushes_towards_its_set_point() -> None:
    unit = natural_penalty(0.01, 100)
    assert unit == pytest.approx(1.0)
    penalty = SteeredPenalty(1000.0, 250.0, unit, 100, DEVICE)
    assert float(penalty(torch.tensor(1000.0, dtype=torch.float64), 0.0)) == pytest.approx(0)
    assert float(penalty(torch.tensor(1000.0, dtype=torch.float64), 0.3)) > 0
    assert float(penalty(torch.tensor(100.0, dtype=torch.float64), 1.0)) < 0


@cache
def landing_space() -> SearchSpace:
    space = space_of()
    space.model.train()
    return space


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.15, 0.95))
def test_landing_never_exceeds_the_target_and_stays_in_the_band(seed: int, share: float) -> None:
    """From any thresholds, for any target between the cheapest and the open network."""
    torch.manual_seed(seed)
    space = landing_space()
    for layer in space.layers.values():
        for gate in (layer.weight_gate, layer.activation_gate):
            if gate is not None:
                gate.thresholds.data = torch.rand(2) * torch.tensor([0.2, 0.05])
    for filter_gate in space.filter_gates.values():
        filter_gate.threshold.data = torch.rand(())
    space.model(torch.rand(4, *IMAGE))
    target = share * exact(space, uniform_policy("resnet20", NAMES, 8))
    policy = land(space, target, lambda found: exact(space, found))
    assert (1 - BAND) * target <= exact(space, policy) <= target
