"""Cost models: what a policy costs, exactly (here) and in expectation (`expected`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sbs.cost.bops import layer_bops
from sbs.cost.layers import LayerShape, prune_shapes, trace_layers
from sbs.cost.memory import layer_bytes
from sbs.networks import Prunable
from sbs.policy import Policy

__all__ = ["RESOURCES", "LayerShape", "policy_cost", "prune_shapes", "trace_layers"]

RESOURCES: dict[str, Callable[[LayerShape, int, int], float]] = {
    "bops": layer_bops,
    "memory": layer_bytes,
}
"""Cost of one layer (shape, weight bits, activation bits) by the name of the resource."""


def policy_cost(
    layers: Iterable[LayerShape], prunables: Iterable[Prunable], policy: Policy, resource: str
) -> float:
    """Cost of a network under a policy, its pruned filters gone: bit operations or bytes.

    Args:
        layers: shapes of the unpruned network.
        prunables: what shrinks with each prunable convolution.
        policy: bitwidths and kept filters.
        resource: a key of :data:`RESOURCES`.
    """
    cost = RESOURCES[resource]
    total = 0.0
    for shape in prune_shapes(layers, prunables, policy):
        chosen = policy.layers[shape.name]
        total += cost(shape, chosen.weight_bits, chosen.activation_bits)
    return total
