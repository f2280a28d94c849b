"""Search networks of ResNet-20 on images of 8 x 8 pixels, and steps of their search."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sbs.config.scale import Scale
from sbs.cost.exact import policy_cost
from sbs.cost.expected import expected_cost
from sbs.cost.trace import trace_layers
from sbs.methods.penalty import FixedPenalty
from sbs.methods.single_path.task import SearchTask
from sbs.networks import build_network, get_spec
from sbs.nn.filter_gate import Placement
from sbs.policy import Bitwidths, Policy, uniform_policy
from sbs.surgery.search import SearchSpace, search_network
from tests.devices import DEVICE

IMAGE = (1, 8, 8)


SHAPES = trace_layers(build_network("resnet20", 10, 1), IMAGE)


NAMES = [shape.name for shape in SHAPES]


def space_of(
    *,
    quantize: bool = True,
    prune: bool = True,
    placement: Placement = "reader",
    bitwidths: tuple[int, ...] = (2, 4, 8),
) -> SearchSpace:
    model = build_network("resnet20", 10, 1)
    for norm in model.modules():  # the last norm of a block would hide the block at the start
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
    return search_network(
        model,
        get_spec("resnet20"),
        uniform_policy("resnet20", NAMES, bitwidths[-1] if quantize else 32),
        bitwidths=Bitwidths(bitwidths) if quantize else None,
        group_size=4 if prune else None,
        metric="rank",
        placement=placement,
    )


def exact(space: SearchSpace, policy: Policy) -> float:
    return policy_cost(SHAPES, space.prunables, policy, "bops")


def task_of(space: SearchSpace, scale: Scale, penalty: float, **changes: object) -> SearchTask:
    cost = expected_cost(space, SHAPES, "bops", propagate=True, device=DEVICE)
    settings = scale.search.model_copy(update=changes)
    return SearchTask(space, cost, cost, FixedPenalty(penalty, DEVICE), settings, steps=100)


def step(
    task: SearchTask, iteration: int, images: Tensor | None = None, labels: Tensor | None = None
) -> None:
    images = torch.rand(8, *IMAGE) if images is None else images
    labels = torch.arange(8) if labels is None else labels
    for optimizer in task.optimizers:
        optimizer.zero_grad(set_to_none=True)
    task.model.train()
    task.before_forward(iteration)
    task.loss((images, labels)).backward()  # type: ignore[no-untyped-call]
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
