"""Candidate bitwidths (the condition of Theorem 1)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from sbs.errors import SBSError


def check_nesting(bitwidths: Sequence[int]) -> tuple[int, ...]:
    """Return the candidate bitwidths if every one is a proper multiple of the one before.

    Theorem 1 rests on it: ``2**(γb) - 1`` is divisible by ``2**b - 1``, so each grid contains
    the coarser ones.

    Raises:
        SBSError: the sequence is empty, has a bitwidth below 1, or does not nest.
    """
    bits = tuple(bitwidths)
    if not bits or bits[0] < 1:
        raise SBSError(f"bitwidths {list(bits)}: at least one is needed, and all must be >= 1")
    for low, high in pairwise(bits):
        if high <= low or high % low:
            raise SBSError(
                f"bitwidths {list(bits)} do not nest: {high} is not a multiple of {low} greater "
                "than it (Theorem 1); take for instance [2, 4, 8] or [3, 6, 12]"
            )
    return bits
