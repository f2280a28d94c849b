"""Targets, λ, landing, and what a search may and may not move."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sbs.config.scale import Scale
from sbs.config.target import Target
from sbs.cost.expected import expected_cost
from sbs.errors import SBSError
from sbs.methods.penalty import BAND, SteeredPenalty
from sbs.methods.single_path.task import SearchTask
from sbs.nn.bit_gate import BitGate
from sbs.nn.filter_gate import Placement
from sbs.policy import uniform_policy
from sbs.quantization.gates import group_metrics, ranks
from sbs.surgery.search import SearchSpace
from tests.devices import DEVICE
from tests.gated import IMAGE, NAMES, SHAPES, exact, space_of, step, task_of, thresholds

pytestmark = pytest.mark.device


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
    assert space.policy_of(space.state()).layers == uniform_policy("resnet20", NAMES, 8).layers


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


@pytest.mark.parametrize("placement", ["reader", "norm"])
def test_the_loss_alone_reopens_a_group_that_matters(
    default_scale: Scale, placement: Placement
) -> None:
    """The group with the smallest weights is closed, but its output is the largest; λ is 0."""
    space = space_of(quantize=False, placement=placement)
    gate = space.filter_gates["layer3.1.conv1"]
    weight = space.layers["layer3.1.conv1"].weight
    weakest = int(ranks(group_metrics(weight, 4, standardized=False)).argmin())
    group = slice(4 * weakest, 4 * weakest + 4)
    with torch.no_grad():
        space.model.get_submodule("layer3.1.bn1").get_parameter("weight")[group] *= 30
    changes: dict[str, Any] = {"learning_rate": 1e-9, "momentum": 0.0, "nesterov": False}
    changes["pruning_threshold_learning_rate"] = 5.0
    task = task_of(space, default_scale, penalty=0.0, **changes)
    images = torch.rand(64, *IMAGE, device=DEVICE)
    space.model.train()
    with torch.no_grad():
        labels = space.model(images).argmax(1)  # what the open network says
    gate.threshold.data.fill_(1.0)
    kept = []
    for iteration in range(1, 100, 2):
        step(task, iteration, images, labels)
        kept.append(float(gate.mask[group].sum()))
    assert kept[0] == 0
    assert (kept[-1] == 4) == (placement == "reader")


@pytest.mark.parametrize("placement", ["reader", "norm"])
def test_what_a_closed_group_feels(placement: Placement) -> None:
    """Behind the reader's quantizer: what it would add. At the batch norm: exactly nothing."""
    space = space_of(quantize=False, placement=placement)
    gate = space.filter_gates["layer2.1.conv1"]
    gate.threshold.data.fill_(4.0)
    logits = space.model.train()(torch.rand(16, *IMAGE, device=DEVICE))
    gate.per_filter.retain_grad()
    nn.functional.cross_entropy(logits, torch.arange(16, device=DEVICE) % 10).backward()
    felt = gate.per_filter.grad
    assert felt is not None
    closed = gate.mask == 0
    assert 0 < int(closed.sum()) < len(closed)
    assert bool((felt[~closed] != 0).all())
    assert bool((felt[closed] != 0).all()) == (placement == "reader")
    if placement == "norm":
        assert bool((felt[closed] == 0).all())


def steered_task(space: SearchSpace, scale: Scale, target: float) -> SearchTask:
    cost = expected_cost(space, SHAPES, "bops", propagate=True, device=DEVICE)
    start = exact(space, uniform_policy("resnet20", NAMES, 8))
    penalty = SteeredPenalty(start, target, 0.2, 0.6, 100, DEVICE)
    still = {"threshold_learning_rate": 1e-9, "pruning_threshold_learning_rate": 1e-9}
    return SearchTask(space, cost, cost, penalty, scale.search.model_copy(update=still), steps=100)


def test_a_search_stays_at_its_policy_once_it_costs_the_target(default_scale: Scale) -> None:
    """Not before its time, and then whatever the thresholds do; also after a resume."""
    target = exact(space_of(), uniform_policy("resnet20", NAMES, 4))
    space = space_of()
    task = steered_task(space, default_scale, target)
    for gate in space.gates():  # 4 bits everywhere, nothing pruned
        if isinstance(gate, BitGate):
            gate.thresholds.data[1] = 1.0
    for number in range(65):
        step(task, number)
        assert task.settled == (number >= 60)
    found = task.shares.policy()
    assert (1 - BAND) * target <= exact(space, found) <= target
    resumed = steered_task(space_of(), default_scale, target)
    resumed.model.load_state_dict(task.model.state_dict())
    resumed.load_state_dict(task.state_dict())
    for one in (task, resumed):
        for gate in one.space.gates():
            (gate.thresholds if isinstance(gate, BitGate) else gate.threshold).data.fill_(9.0)
        step(one, 65)
        assert one.space.policy_of(one.space.state()) == found
        assert one.shares.policy() == found


def test_by_cost_only_the_loss_moves_no_threshold(default_scale: Scale) -> None:
    for penalty, still in ((0.0, True), (1.0, False)):
        space = space_of()
        for gate in space.gates():
            gate.loss_aware = False
        task = task_of(space, default_scale, penalty=penalty, alternating=False)
        for gate in space.filter_gates.values():
            gate.threshold.data.fill_(1.0)  # one group closed: with the loss, it would be felt
        before = dict(thresholds(space))
        step(task, 0)
        assert all(now.equal(before[name]) == still for name, now in thresholds(space))


def test_thresholds_keep_their_rate_while_that_of_the_weights_falls(
    default_scale: Scale,
) -> None:
    task = task_of(space_of(), default_scale, penalty=0.0)
    weights, gated = (optimizer.param_groups for optimizer in task.optimizers)
    assert all("initial_lr" in group for group in weights)
    assert not any("initial_lr" in group for group in gated)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_adam_moves_every_threshold_at_the_pace_of_its_rate(
    default_scale: Scale, optimizer: str
) -> None:
    space = space_of()
    changes = {"threshold_optimizer": optimizer, "threshold_learning_rate": 0.01}
    task = task_of(space, default_scale, penalty=1.0, alternating=False, **changes)
    before = dict(thresholds(space))
    step(task, 0)
    moves = torch.cat(
        [(now - before[key]).abs() for key, now in thresholds(space) if "filters" not in key]
    )
    close = torch.isclose(moves, torch.full_like(moves, 0.01), rtol=0.01)
    assert bool(close.all()) == (optimizer == "adam")
