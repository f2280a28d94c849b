"""Networks and policies that the tests of the cost models share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from sbs.cost.layers import LayerShape
from sbs.cost.trace import trace_layers
from sbs.networks import Prunable, get_spec
from sbs.policy import Policy

MACS = {
    "resnet20": 40_818_944,
    "resnet56": 125_753_600,
    "resnet18": 1_814_073_344,
    "resnet50": 4_089_184_256,
    "mobilenet_v2": 300_774_272,
    "mobilenet_v3": 66_572_384,
}
GROUP_OF_FOUR = 73_728
"""MACs that divide what any group of four filters of a CIFAR ResNet takes away."""


@cache
def layers_of(name: str) -> tuple[LayerShape, ...]:
    spec = get_spec(name)
    model = spec.build(spec.classes, 3)
    return trace_layers(model, (3, spec.image_size, spec.image_size))


@cache
def prunables_of(name: str) -> tuple[Prunable, ...]:
    spec = get_spec(name)
    return spec.prunables(spec.build(spec.classes, 3))


def with_kept(policy: Policy, kept: Mapping[str, tuple[int, ...]]) -> Policy:
    layers = dict(policy.layers)
    for name, filters in kept.items():
        layers[name] = layers[name].model_copy(update={"kept": filters})
    return Policy(network=policy.network, layers=layers)
