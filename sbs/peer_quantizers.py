"""Quantizers of the methods that SBS is compared with, each by the rules of its own paper.

All round as :mod:`sbs.rounding` does, with a straight-through gradient; the papers' own rounding
differs on ties alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sbs.quantizer import levels
from sbs.rounding import round_straight_through


def dorefa_weight(w: Tensor, bits: int) -> Tensor:
    """DoReFa-Net's weights: ``2 round_k(tanh(w) / (2 max|tanh w|) + 1/2) - 1``.

    Args:
        w: weights of any shape.
        bits: bitwidth k.

    Returns:
        weights in [-1, 1] on 2^k levels. The maximum is a constant for the gradient.
    """
    squashed = torch.tanh(w)
    z = squashed / (2 * squashed.detach().abs().max().clamp_min(1e-12)) + 0.5
    steps = levels(bits)
    return 2 * round_straight_through(z * steps) / steps - 1


def pact_activation(x: Tensor, clip: Tensor, bits: int) -> Tensor:
    """PACT's activations: clipped to [0, c], then ``c / (2^k - 1) round(y (2^k - 1) / c)``.

    The clipping level gets the gradient of the clipped values alone, 1 where ``x >= c``: that is
    PACT's rule, and where it differs from Eq. 1.

    Args:
        x: activations of any shape.
        clip: the positive scalar c.
        bits: bitwidth k.
    """
    clipped = torch.where(x >= clip, clip, x.clamp_min(0))
    scale = levels(bits) / clip.detach()
    return round_straight_through(clipped * scale) / scale
