"""Rounding with a straight-through gradient (section 2, Eq. 3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def round_half_down(x: Tensor) -> Tensor:
    """``⌈x - 0.5⌉``, the paper's round: to the nearest integer, ties go down.

    Shifting x by an integer shifts the result by the same integer, which Theorem 1 needs.
    ``torch.round`` (ties to even) does not have this property.
    """
    return torch.ceil(x - 0.5)


class _RoundStraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return round_half_down(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0]


def round_straight_through(x: Tensor) -> Tensor:
    """:func:`round_half_down` with the identity as its gradient (straight-through estimator)."""
    result: Tensor = _RoundStraightThrough.apply(x)
    return result
