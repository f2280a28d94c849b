"""Exact cost of a network under a policy."""

from __future__ import annotations

from collections.abc import Iterable

from sbs.cost.layers import LayerShape, prune_shapes
from sbs.networks.prunable import Prunable
from sbs.policy import Policy
from sbs.registry.costs import cost_model


def policy_cost(
    layers: Iterable[LayerShape], prunables: Iterable[Prunable], policy: Policy, resource: str
) -> float:
    """Cost of a network under a policy, with its pruned filters removed.

    Args:
        layers: shapes of the unpruned network.
        prunables: the prunable convolutions and the layers that shrink with them.
        policy: bitwidths and kept filters.
        resource: name of a cost model, such as ``bops`` (bit operations) or ``memory`` (bytes).
    """
    cost = cost_model(resource).layer
    total = 0.0
    for shape in prune_shapes(layers, prunables, policy):
        chosen = policy.layers[shape.name]
        total += cost(shape, chosen.weight_bits, chosen.activation_bits)
    return total
