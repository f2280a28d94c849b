"""Quantizers for layer inputs, which can be pending batch norms."""

from __future__ import annotations

from torch import Tensor

from sbs.kernels import fused as kernels
from sbs.nn.batch_norm import Pending, Values


def fake_quantize(x: Values, interval: Tensor, bits: int, *, signed: bool) -> Tensor:
    """Quantize ``x`` (any shape) at a fixed bitwidth (Eqs. 1-4)."""
    if isinstance(x, Pending):
        return x.quantized(interval, kernels.fixed(interval, bits, signed=signed)).values
    return kernels.fake_quantize(x, interval, bits, signed=signed)


def pact(x: Values, clip: Tensor, bits: int) -> Tensor:
    """Quantize activations of any shape as PACT does."""
    if isinstance(x, Pending):
        spec = kernels.fixed(clip, bits, signed=False, clip_only=True)
        return x.quantized(clip, spec).values
    return kernels.pact(x, clip, bits)
