"""Fast versions of the quantizers.

In the forward pass gates are exactly 0 or 1. So by Theorem 1 the gated value equals plain
quantization at the selected bitwidth. The offsets are needed only for the gradients of the gates,
as inner products ``<dL/dy, z_b>``, which the backward pass recomputes. So quantization needs one
pass over memory forward and one backward.

On CPUs the kernels are compiled C++ (:mod:`sbs.kernels.build`). On GPUs torch.compile fuses the
reference functions of :mod:`sbs.quantization`. Without a compiler, the reference functions run
uncompiled. In all cases bf16 values are quantized in single precision, and the result is rounded
to bf16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sbs.kernels import autograd as functions
from sbs.kernels import build as native
from sbs.kernels.compiled import reference
from sbs.policy import Bitwidths
from sbs.quantization import gates
from sbs.quantization import peers as peer_quantizers
from sbs.quantization import uniform as quantizer
from sbs.runtime import processes

WIDE = {
    torch.float32: torch.float32,
    torch.float64: torch.float64,
    torch.bfloat16: torch.float32,
}
"""Element types that have a kernel, and the parameter type for each."""


class Quantized(NamedTuple):
    """Output of a quantizer with gates.

    Attributes:
        values: quantized values, shaped like the input.
        gates: K-1 gates before nesting, differentiable in the thresholds.
        metrics: K-1 metrics, without gradient.
        bits: selected bitwidth; None if reading it would have to wait for the device.
    """

    values: Tensor
    gates: Tensor
    metrics: Tensor
    bits: int | None


@dataclass(frozen=True)
class QuantizerSpec:
    """The bitwidths of one quantizer.

    Attributes:
        thresholds: K-1 thresholds; none for a fixed bitwidth.
        bitwidths: K nesting bitwidths.
        signed: use the map of Eq. 2; otherwise that of Eq. 1.
        guess: bitwidth that will probably be selected; a wrong guess only costs time.
        clip_only: PACT's rule for the interval's gradient: it comes only from clipped values. For a
            fixed bitwidth.
    """

    thresholds: Tensor
    bitwidths: Bitwidths
    signed: bool
    guess: int
    clip_only: bool = False

    @property
    def operands(self) -> tuple[Tensor, Bitwidths, bool, int, bool]:
        """Arguments for the functions of :mod:`sbs.kernels.autograd`."""
        return self.thresholds, self.bitwidths, self.signed, self.guess, self.clip_only


def fixed(x: Tensor, bits: int, *, signed: bool, clip_only: bool = False) -> QuantizerSpec:
    """Spec of one fixed bitwidth, for values of the type and device of ``x``."""
    none = x.new_empty(0, dtype=WIDE.get(x.dtype, x.dtype))
    return QuantizerSpec(none, Bitwidths([bits]), signed, bits, clip_only)


def standardize(w: Tensor, mask: Tensor | None) -> Tensor:
    """Fast version of :func:`sbs.quantization.uniform.standardize`."""
    if _has_kernel(w, w):
        result: Tensor = functions.Standardize.apply(w, mask)
        return result
    return quantizer.standardize(w, mask)


def fake_quantize(x: Tensor, interval: Tensor, bits: int, *, signed: bool) -> Tensor:
    """Fast version of :func:`sbs.quantization.uniform.fake_quantize`.

    Here and below ``interval`` is a parameter that can be negative; it is replaced by its
    :func:`sbs.quantization.uniform.effective_interval`.
    """
    if _has_kernel(x, interval):
        y: Tensor = functions.Quantize.apply(x, interval, *fixed(x, bits, signed=signed).operands)[
            0
        ]
        return y
    y = reference(x, _quantize, bits=bits, signed=signed)(x, interval)
    return y


def pact(x: Tensor, clip: Tensor, bits: int) -> Tensor:
    """Fast version of :func:`sbs.quantization.peers.pact_activation`."""
    if _has_kernel(x, clip):
        spec = fixed(x, bits, signed=False, clip_only=True)
        y: Tensor = functions.Quantize.apply(x, clip, *spec.operands)[0]
        return y
    y = reference(x, _pact, bits=bits)(x, clip)
    return y


def fixed_point(x: Tensor, step: Tensor, largest: Tensor, *, signed: bool) -> Tensor:
    """Fast version of :func:`sbs.quantization.peers.dq_fake_quantize`."""
    if _has_kernel(x, step):
        y: Tensor = functions.FixedPoint.apply(x, step, largest, signed)
        return y
    y = reference(x, _fixed_point, signed=signed)(x, step, largest)
    return y


def gated_fake_quantize(x: Tensor, interval: Tensor, spec: QuantizerSpec) -> Quantized:
    """Fast version of :func:`sbs.quantization.gates.gated_fake_quantize`."""
    if _has_kernel(x, interval):
        return Quantized(*functions.Quantize.apply(x, interval, *spec.operands))
    function = reference(x, _gated_quantize, bitwidths=spec.bitwidths, signed=spec.signed)
    y, raw, metrics = function(x, interval, spec.thresholds)
    return Quantized(y, raw, metrics, None)


def shared_gated_fake_quantize(x: Tensor, interval: Tensor, spec: QuantizerSpec) -> Quantized:
    """:func:`gated_fake_quantize` of a tensor of which each process has its share."""
    options = {"bitwidths": spec.bitwidths, "signed": spec.signed}
    own = reference(x, _metrics, **options)(x, interval)
    elements = own.new_full((1,), x.numel())
    sums = processes.total(torch.cat([own * elements, elements]))
    metrics = sums[:-1] / sums[-1]
    function = reference(x, _gated_values, **options)
    y, raw = function(x, interval, spec.thresholds, metrics)
    return Quantized(y, raw, metrics, None)


def _quantize(x: Tensor, interval: Tensor, *, bits: int, signed: bool) -> Tensor:
    v = quantizer.effective_interval(interval)
    return quantizer.fake_quantize(_wide(x), v, bits, signed=signed).to(x.dtype)


def _pact(x: Tensor, clip: Tensor, *, bits: int) -> Tensor:
    c = quantizer.effective_interval(clip)
    return peer_quantizers.pact_activation(_wide(x), c, bits).to(x.dtype)


def _gated_quantize(
    x: Tensor, interval: Tensor, thresholds: Tensor, *, bitwidths: Bitwidths, signed: bool
) -> tuple[Tensor, Tensor, Tensor]:
    v = quantizer.effective_interval(interval)
    y, raw, metrics = gates.gated_fake_quantize(_wide(x), v, thresholds, bitwidths, signed=signed)
    return y.to(x.dtype), raw, metrics


def _metrics(x: Tensor, interval: Tensor, *, bitwidths: Bitwidths, signed: bool) -> Tensor:
    v = quantizer.effective_interval(interval)
    return gates.metrics_of(_wide(x), v, bitwidths, signed=signed)


def _gated_values(
    x: Tensor,
    interval: Tensor,
    thresholds: Tensor,
    metrics: Tensor,
    *,
    bitwidths: Bitwidths,
    signed: bool,
) -> tuple[Tensor, Tensor]:
    v = quantizer.effective_interval(interval)
    y, raw = gates.gated_values(_wide(x), v, thresholds, metrics, bitwidths, signed=signed)
    return y.to(x.dtype), raw


def _fixed_point(x: Tensor, step: Tensor, largest: Tensor, *, signed: bool) -> Tensor:
    return peer_quantizers.dq_fake_quantize(_wide(x), step, largest, signed=signed).to(x.dtype)


def _wide(x: Tensor) -> Tensor:
    """``x`` in the type that quantizers compute in; half precision is too coarse."""
    return x.to(WIDE.get(x.dtype, x.dtype))


def _has_kernel(x: Tensor, interval: Tensor) -> bool:
    return x.device.type == "cpu" and WIDE.get(x.dtype) == interval.dtype and native.available()
