"""Quantized values of a high bitwidth as a low-bit value plus offsets (Theorem 1, Eqs. 5-8)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from sbs.policy import Bitwidths
from sbs.quantization.uniform import discretize


def decompose(z: Tensor, bitwidths: Bitwidths) -> tuple[Tensor, list[Tensor]]:
    """Theorem 1, Eq. 8: value at the lowest bitwidth, and re-assignment offsets of ``z``.

    Args:
        z: normalised values in [0, 1], any shape.
        bitwidths: nesting bitwidths b_1 < ... < b_K.

    Returns:
        ``z_b1`` and ``[r_b2, ..., r_bK]``, ``r_bj = D(z - z_b(j-1), s_bj)``. The sum of ``z_b1``
        and the first j-1 offsets is ``z_bj``.
    """
    offsets = [discretize(z - discretize(z, low), high) for low, high in pairwise(bitwidths)]
    return discretize(z, bitwidths.lowest), offsets


def recompose(base: Tensor, offsets: Sequence[Tensor], gates: Tensor) -> Tensor:
    """Eq. 10, second line: ``z_b1 + g_2 (r_2 + g_3 (r_3 + ...))``.

    Args:
        base: ``z_b1``.
        offsets: ``[r_b2, ..., r_bK]``, each shaped like ``base``.
        gates: K-1 gates, 0 or 1, lowest bitwidth first.
    """
    tail: Tensor | float = 0.0
    for offset, gate in zip(reversed(offsets), reversed(gates.unbind()), strict=True):
        tail = gate * (offset + tail)
    return base + tail
