"""Targets, λ, landing, and what a search may and may not move."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sbs.config.scale import Scale
from sbs.config.target import Target
from sbs.cost.exact import policy_cost
from sbs.cost.expected import ExpectedCost
from sbs.cost.trace import trace_layers
from sbs.errors import SBSError
from sbs.methods.penalty import BAND, FixedPenalty, SteeredPenalty
from sbs.methods.single_path.landing import land
from sbs.methods.single_path.shares import OpenShares
from sbs.methods.single_path.task import SearchTask
from sbs.networks import build_network, get_spec
from sbs.nn.bit_gate import BitGate
from sbs.nn.filter_gate import Placement
from sbs.policy import Bitwidths, Policy, uniform_policy
from sbs.quantization.gates import group_metrics, ranks
from sbs.surgery.search import SearchSpace, search_network
from tests.devices import DEVICE

pytestmark = pytest.mark.device

IMAGE = (1, 8, 8)
SHAPES = trace_layers(build_network("resnet20", 10, 1), IMAGE)
NAMES = [shape.name for shape in SHAPES]


def space_of(
    *, quantize: bool = True, prune: bool = True, placement: Placement = "reader"
) -> SearchSpace:
    model = build_network("resnet20", 10, 1)
    for norm in model.modules():  # the last norm of a block would hide the block at the start
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
    return search_network(
        model,
        get_spec("resnet20"),
        uniform_policy("resnet20", NAMES, 8 if quantize else 32),
        bitwidths=Bitwidths((2, 4, 8)) if quantize else None,
        group_size=4 if prune else None,
        metric="rank",
        placement=placement,
    )


def exact(space: SearchSpace, policy: Policy) -> float:
    return policy_cost(SHAPES, space.prunables, policy, "bops")


def task_of(space: SearchSpace, scale: Scale, penalty: float, **changes: object) -> SearchTask:
    cost = ExpectedCost(space, SHAPES, "bops", propagate=True, device=DEVICE)
    settings = scale.search.model_copy(update=changes)
    return SearchTask(space, cost, FixedPenalty(penalty, DEVICE), settings, steps=100)


def step(
    task: SearchTask, iteration: int, images: Tensor | None = None, labels: Tensor | None = None
) -> None:
    images = torch.rand(8, *IMAGE) if images is None else images
    labels = torch.arange(8) if labels is None else labels
    for optimizer in task.optimizers:
        optimizer.zero_grad(set_to_none=True)
    task.model.train()
    task.before_forward(iteration)
    task.loss(images, labels).backward()  # type: ignore[no-untyped-call]
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


def test_steered_penalty_follows_its_set_point() -> None:
    """λ grows while the cost is above, shrinks while it is below, and reopens gates far below."""

    def course(cost: float, progress: float) -> list[float]:
        penalty = SteeredPenalty(1000.0, 250.0, 0.2, 100, DEVICE)
        value = torch.tensor(cost, dtype=torch.float64)
        return [float(penalty(value, progress)) for _ in range(20)]

    at_start = course(1000.0, 0.0)
    assert at_start == pytest.approx([at_start[0]] * 20)
    assert at_start[0] > 0
    for cost, progress in ((1000.0, 0.1), (1000.0, 1.0), (260.0, 1.0)):
        values = course(cost, progress)
        assert all(low < high for low, high in pairwise(values))
    slightly_below = course(240.0, 1.0)
    assert all(high > low > 0 for high, low in pairwise(slightly_below))
    assert all(value < 0 for value in course(200.0, 1.0))


class Plant:
    """400 gates with benefits over a factor of 100, and noise; thresholds move as Adam does."""

    def __init__(self, benefit: float) -> None:
        self.benefits = benefit * torch.logspace(-1, 1, 400, dtype=torch.float64)
        self.metrics = 0.05 + 0.1 * torch.rand(400, dtype=torch.float64)
        self.thresholds = torch.zeros(400, dtype=torch.float64)
        self.noise = 3 * benefit

    def open(self) -> Tensor:
        return (self.thresholds <= self.metrics).double()

    def cost(self) -> Tensor:
        return 1 + 3 * self.open().mean()

    def step(self, penalty: float) -> None:
        noise = self.noise * torch.randn(400, dtype=torch.float64)
        gradient = penalty - self.benefits * (1 - self.open()) + noise
        size = (gradient.square() + self.benefits.square() + self.noise**2).sqrt()
        self.thresholds += 0.002 * gradient / size


@pytest.mark.parametrize("benefit", [1e-3, 1e-2, 1.0])
def test_steered_penalty_finds_the_size_of_what_it_is_weighed_against(benefit: float) -> None:
    """The mean cost meets the set-point, whatever the size of the benefits."""
    steps, plant, costs = 1000, Plant(benefit), []
    penalty = SteeredPenalty(4.0, 2.0, 0.2, steps, DEVICE)
    for number in range(steps):
        costs.append(float(plant.cost()))
        plant.step(float(penalty(plant.cost(), number / steps)))
    late = costs[2 * steps // 3 :]
    assert sum(late) / len(late) == pytest.approx(2.0 * (1 - BAND / 2), rel=0.035)


def test_the_correction_moves_the_cost_of_the_policy_into_the_band() -> None:
    """The policy costs 7 % more than the gates on average, as in ResNet-20 at 3 bits."""
    steps, ratio, plant, costs = 1000, 1.07, Plant(0.01), []
    penalty = SteeredPenalty(4.0, 2.0, 0.2, steps, DEVICE)
    for number in range(steps):
        costs.append(float(plant.cost()))
        plant.step(float(penalty(plant.cost(), number / steps)))
        recent = sum(costs[-50:]) / len(costs[-50:])
        settled = torch.tensor(ratio * recent, dtype=torch.float64)
        penalty.correct(settled, number / steps, 1 / steps)
    assert (1 - BAND) * 2.0 <= ratio * sum(costs[-50:]) / 50 <= 2.0


def shares_at_random(space: SearchSpace) -> OpenShares:
    shares = OpenShares(space, window=10)
    for name, mean in vars(shares.mean).items():
        drawn = torch.rand_like(mean)
        # As in a search: no gate is open more often than the one before it.
        mean.copy_(drawn if name == "groups" else drawn.sort(dim=1, descending=True).values)
    return shares


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.15, 0.95))
def test_landing_never_exceeds_the_target_and_stays_in_the_band(seed: int, share: float) -> None:
    """From any state of the gates, for any target between the cheapest and the open network."""
    torch.manual_seed(seed)
    space = space_of()
    shares = shares_at_random(space)
    target = share * exact(space, uniform_policy("resnet20", NAMES, 8))
    landing = land(shares, target, lambda found: exact(space, found))
    assert (1 - BAND) * target <= exact(space, landing.policy) <= target
    inside = (1 - BAND) * target <= exact(space, shares.policy()) <= target
    assert (landing.flips == 0) == inside
    if inside:
        assert landing.policy == shares.policy()


def test_landing_flips_the_least_decided_gates() -> None:
    space = space_of()
    shares = OpenShares(space, window=10)
    for mean in vars(shares.mean).values():
        mean.fill_(0.9)
    searched = [name for name, side, _ in space.bit_gates() if side == "weight_bits"]
    shares.mean.weight_bits[searched.index("layer2.1.conv2"), 1] = 0.6
    full = exact(space, uniform_policy("resnet20", NAMES, 8))
    landing = land(shares, full - 1, lambda found: exact(space, found))
    assert landing.flips == 1
    assert landing.policy.layers["layer2.1.conv2"].weight_bits == 4
    shares.mean.groups[5] = 0.55  # of layer1.1.conv1, the second of its four groups
    landing = land(shares, full - 1, lambda found: exact(space, found))
    assert landing.flips == 1
    kept = landing.policy.layers["layer1.1.conv1"].kept
    assert kept is not None
    assert set(range(16)) - set(kept) == {4, 5, 6, 7}


@pytest.mark.parametrize(
    ("window", "closed", "bits"),
    [(3, (), 8), (3, (3, 4), 8), (3, (1, 2, 3, 4), 4), (0, (1, 2, 3, 4), 8)],
)
def test_the_policy_has_the_gates_that_were_open_in_most_steps(
    window: float, closed: tuple[int, ...], bits: int
) -> None:
    """Here the gate to 8 bits of one tensor, which is open in the last step."""
    space = space_of()
    shares = OpenShares(space, window)
    gate = space.layers["layer1.0.conv1"].weight_gate
    assert gate is not None
    for number in range(6):
        gate.gates = torch.tensor([1.0, float(number not in closed)], device=DEVICE)
        shares.update(space.state())
    assert shares.policy().layers["layer1.0.conv1"].weight_bits == bits


def test_a_gate_behind_a_closed_one_counts_as_closed() -> None:
    space = space_of()
    shares = OpenShares(space, window=1)
    gate = space.layers["layer1.0.conv1"].activation_gate
    assert gate is not None
    gate.gates = torch.tensor([0.0, 1.0], device=DEVICE)
    shares.update(space.state())
    assert shares.mean.activation_bits[0].tolist() == [0.0, 0.0]
    assert shares.policy().layers["layer1.0.conv1"].activation_bits == 2


def test_shares_by_layer_and_after_a_resume() -> None:
    space = space_of()
    shares = shares_at_random(space)
    found = shares.by_layer()
    assert found["weight_bits"]["layer1.0.conv1"] == pytest.approx(
        shares.mean.weight_bits[0].tolist(), abs=1e-4
    )
    assert [len(groups) for groups in found["groups"].values()] == [4] * 3 + [8] * 3 + [16] * 3
    resumed = OpenShares(space_of(), window=10)
    resumed.load_state_dict(shares.state_dict())
    assert resumed.by_layer() == found
    assert resumed.policy() == shares.policy()


def test_some_group_is_always_kept() -> None:
    space = space_of()
    shares = OpenShares(space, window=10)
    shares.mean.groups.uniform_(0, 0.4)
    shares.mean.groups[:4] = torch.tensor([0.1, 0.4, 0.3, 0.2], device=DEVICE)
    assert shares.policy().layers["layer1.0.conv1"].kept == (4, 5, 6, 7)


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
    cost = ExpectedCost(space, SHAPES, "bops", propagate=True, device=DEVICE)
    start = exact(space, uniform_policy("resnet20", NAMES, 8))
    penalty = SteeredPenalty(start, target, 0.2, 100, DEVICE)
    still = {"threshold_learning_rate": 1e-9, "pruning_threshold_learning_rate": 1e-9}
    return SearchTask(space, cost, penalty, scale.search.model_copy(update=still), steps=100)


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
