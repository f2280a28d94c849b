"""Eq. 3 and its consequences in rational arithmetic: without tolerance, exact at ties."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

Rounding = Callable[[Fraction], int]
HALF = Fraction(1, 2)


def half_down(x: Fraction) -> int:
    """``⌈x - 1/2⌉``, the paper's round."""
    return math.ceil(x - HALF)


def half_to_even(x: Fraction) -> int:
    """The round of IEEE 754, NumPy and PyTorch."""
    return round(x)


def discretize(z: Fraction, bits: int, rounding: Rounding = half_down) -> Fraction:
    """``D(z, s)`` of Eq. 3 with the step of Eq. 4."""
    steps = 2**bits - 1
    return Fraction(rounding(z * steps), steps)


def offset(z: Fraction, low: int, high: int, rounding: Rounding = half_down) -> Fraction:
    """The re-assignment offset ``D(z - z_low, s_high)`` of Eq. 8."""
    return discretize(z - discretize(z, low, rounding), high, rounding)


def critical_points(bitwidths: Sequence[int]) -> Iterator[Fraction]:
    """All grid points and ties in [0, 1] of all bitwidths. If they nest, the highest suffices."""
    points = {
        Fraction(numerator, 2 * (2**bits - 1))
        for bits in bitwidths
        for numerator in range(2 * (2**bits - 1) + 1)
    }
    yield from sorted(points)


def lemma_1(z: Fraction, low: int, high: int, rounding: Rounding = half_down) -> bool:
    """``z_high = z_low + r_high``."""
    return discretize(z, high, rounding) == discretize(z, low, rounding) + offset(
        z, low, high, rounding
    )


def theorem_1(z: Fraction, bitwidths: Sequence[int], rounding: Rounding = half_down) -> bool:
    """``z_bK = z_b1 + r_b2 + ... + r_bK``."""
    offsets = (offset(z, low, high, rounding) for low, high in pairwise(bitwidths))
    total = sum(offsets, discretize(z, bitwidths[0], rounding))
    return total == discretize(z, bitwidths[-1], rounding)


def lemma_2(z: Fraction, low: int, high: int) -> Fraction:
    """``|z - z_low| - |z - z_high|``; by the lemma it is never negative."""
    return abs(z - discretize(z, low)) - abs(z - discretize(z, high))


def corollary_1(z: Sequence[Fraction], low: int, high: int) -> Fraction:
    """``|ε_low - ε_high|`` divided by the bound ``C / (2^low - 1)`` of Eq. 9.

    Args:
        z: a nonzero vector in [0, 1]^d; ‖z‖₁ is a factor of both sides and cancels.
        low: bitwidth b_K.
        high: bitwidth b_(K+1).
    """
    change = abs(sum((lemma_2(value, low, high) for value in z), Fraction(0)))
    return change * Fraction(2**low - 1, len(z))


def sharp_constant(low: int, high: int) -> Fraction:
    """The smallest constant for which Corollary 1 holds, relative to the paper's constant.

    The error of an element falls by at most ``(s_low - s_high) / 2``: half a step of the low grid
    minus half a step of the high grid. This happens at every tie of the low grid, because these are
    ties of the high grid too.
    """
    return HALF * (1 - Fraction(2**low - 1, 2**high - 1))
