"""Sizes of search spaces: Eq. K as in the paper, and the number of policies in this search."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from sbs.cost.layers import LayerShape
from sbs.networks import Prunable


def equation_k(filters: list[int], candidates: int, group_size: int) -> int:
    """Eq. K: ``prod_l K^2 G_l`` with ``G_l = ⌈C_l / B⌉``.

    Args:
        filters: C_l of the counted layers.
        candidates: K, number of bitwidths.
        group_size: B, filters per group.
    """
    return prod(candidates**2 * -(-count // group_size) for count in filters)


def resnet18_by_the_paper() -> int:
    """Eq. K for ResNet-18 with K = 3 and B = 16; reproduces the 4.3e34 of appendix E.

    It counts the 17 convolutions outside the shortcuts, and the linear layer with one group.
    """
    filters = [64] * 5 + [128] * 4 + [256] * 4 + [512] * 4
    return equation_k(filters, 3, 16) * equation_k([1], 3, 16)


def choices(
    layers: tuple[LayerShape, ...],
    prunables: tuple[Prunable, ...],
    candidates: int,
    group_size: int,
) -> Mapping[str, int]:
    """Number of policies that the search can return.

    The first and the last layer have fixed 8 bits. Every group of filters is kept or pruned
    independently of the others, and at least one group is kept. So G groups have ``2^G - 1``
    outcomes, not the G of Eq. K.

    Args:
        layers: layers of the network, in forward order.
        prunables: convolutions that can lose filters.
        candidates: K, number of bitwidths.
        group_size: B, filters per group.

    Returns:
        ``quantization``, ``pruning`` and their product ``both``.
    """
    quantization = candidates ** (2 * len(layers[1:-1]))
    shapes = {layer.name: layer for layer in layers}
    groups = [-(-shapes[p.layer].out_channels // group_size) for p in prunables]
    pruning = prod(2**count - 1 for count in groups)
    return {"quantization": quantization, "pruning": pruning, "both": quantization * pruning}
