"""Fast versions of the quantizers, alone or together with the batch norm before them.

In the forward pass gates are exactly 0 or 1, so by Theorem 1 the gated value is plain quantization
at the selected bitwidth; offsets enter only the gradients of the gates, as inner products
``<dL/dy, z_b>`` that the backward pass recomputes. So quantization is one pass over memory forward
and one backward. On CPUs they are compiled C++ (:mod:`sbs.kernels.build`). On GPUs
torch.compile fuses the reference functions of :mod:`sbs.quantization`. Where no compiler is, those
functions run as they are. Everywhere values in bf16 are quantized in single precision, and the
result is rounded to bf16.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sbs.kernels import autograd as functions
from sbs.kernels import build as native
from sbs.policy import Bitwidths
from sbs.quantization import gates
from sbs.quantization import peers as peer_quantizers
from sbs.quantization import uniform as quantizer

_WIDE = {
    torch.float32: torch.float32,
    torch.float64: torch.float64,
    torch.bfloat16: torch.float32,
}
"""Element types with a kernel, and the type of the parameters that go with each."""


class Quantized(NamedTuple):
    """Output of a quantizer with gates.

    Attributes:
        values: quantized values, shaped like the input.
        gates: K-1 raw gates (not yet nested), differentiable in the thresholds.
        metrics: K-1 metrics, without gradient.
        bits: selected bitwidth where that is known without waiting for the device.
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
        signed: map of Eq. 2 if true, of Eq. 1 if false.
        guess: bitwidth that will probably be selected; a wrong guess costs time alone.
        clip_only: PACT's rule for the interval's gradient: what is clipped counts alone. For a
            fixed bitwidth.
    """

    thresholds: Tensor
    bitwidths: Bitwidths
    signed: bool
    guess: int
    clip_only: bool = False


@dataclass(frozen=True)
class Norm:
    """Batch norm of a training step, or with running statistics.

    Attributes:
        weight: scale (C,).
        bias: shift (C,).
        running_mean: updated in place in training.
        running_var: likewise.
        training: use the statistics of the batch.
        momentum: weight of the batch in the running statistics.
        eps: added to the variance.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    training: bool
    momentum: float
    eps: float


def fixed(x: Tensor, bits: int, *, signed: bool, clip_only: bool = False) -> QuantizerSpec:
    """A single bitwidth for values like ``x``."""
    none = x.new_empty(0, dtype=_WIDE.get(x.dtype, x.dtype))
    return QuantizerSpec(none, Bitwidths([bits]), signed, bits, clip_only)


def standardize(w: Tensor, mask: Tensor | None) -> Tensor:
    """:func:`sbs.quantization.uniform.standardize`, fast."""
    if _has_kernel(w, w):
        result: Tensor = functions.Standardize.apply(w, mask)
        return result
    return quantizer.standardize(w, mask)


def fake_quantize(x: Tensor, interval: Tensor, bits: int, *, signed: bool) -> Tensor:
    """:func:`sbs.quantization.uniform.fake_quantize`, fast.

    Here and below ``interval`` is a parameter of any sign:
    :func:`sbs.quantization.uniform.effective_interval` of it is used.
    """
    if _has_kernel(x, interval):
        y: Tensor = functions.Quantize.apply(
            x, interval, *_unpacked(fixed(x, bits, signed=signed))
        )[0]
        return y
    y = _reference(x, _quantize, bits=bits, signed=signed)(x, interval)
    return y


def pact(x: Tensor, clip: Tensor, bits: int) -> Tensor:
    """:func:`sbs.quantization.peers.pact_activation`, fast."""
    if _has_kernel(x, clip):
        spec = fixed(x, bits, signed=False, clip_only=True)
        y: Tensor = functions.Quantize.apply(x, clip, *_unpacked(spec))[0]
        return y
    y = _reference(x, _pact, bits=bits)(x, clip)
    return y


def fixed_point(x: Tensor, step: Tensor, largest: Tensor, *, signed: bool) -> Tensor:
    """:func:`sbs.quantization.peers.dq_fake_quantize`, fast."""
    if _has_kernel(x, step):
        y: Tensor = functions.FixedPoint.apply(x, step, largest, signed)
        return y
    y = _reference(x, _fixed_point, signed=signed)(x, step, largest)
    return y


def gated_fake_quantize(x: Tensor, interval: Tensor, spec: QuantizerSpec) -> Quantized:
    """:func:`sbs.quantization.gates.gated_fake_quantize`, fast; bitwidths are taken to nest."""
    if _has_kernel(x, interval):
        return Quantized(*functions.Quantize.apply(x, interval, *_unpacked(spec)))
    function = _reference(x, _gated_quantize, bitwidths=spec.bitwidths, signed=spec.signed)
    y, raw, metrics = function(x, interval, spec.thresholds)
    return Quantized(y, raw, metrics, None)


def joins_norm(raw: Tensor) -> bool:
    """Whether :func:`norm_quantize` has a kernel for a batch norm over ``raw``."""
    return (
        raw.dim() == 4
        and raw.numel() > raw.shape[1]
        and raw.is_contiguous(memory_format=torch.channels_last)
        and raw.device.type == "cpu"
        and raw.dtype in _WIDE
        and native.available()
    )


def norm_quantize(
    raw: Tensor,
    norm: Norm,
    residual: Tensor | None,
    interval: Tensor,
    spec: QuantizerSpec,
    *,
    relu: bool,
    keep: bool,
) -> tuple[Quantized, Tensor | None]:
    """Batch norm, addition, ReLU and quantizer at once.

    Args:
        raw: (N, C, H, W) with :func:`joins_norm`.
        norm: what is applied to it first.
        residual: what is added, shaped like ``raw``.
        interval: scalar v.
        spec: bitwidths.
        relu: apply a ReLU after the addition.
        keep: return the quantizer's input too.

    Returns:
        the quantizer's output, and its input if ``keep`` or if there is a residual.
    """
    if residual is not None:
        residual = residual.to(raw.dtype).contiguous(memory_format=torch.channels_last)
    keep = keep or residual is not None
    y, kept, raw_gates, metrics, bits = functions.NormQuantize.apply(
        raw, norm.weight, norm.bias, residual, interval, *_unpacked(spec), norm, relu, keep
    )
    return Quantized(y, raw_gates, metrics, bits), kept


def norm_reference(raw: Tensor, norm: Norm, residual: Tensor | None, *, relu: bool) -> Tensor:
    """The quantizer's input by PyTorch's own functions."""
    x = F.batch_norm(
        raw,
        norm.running_mean,
        norm.running_var,
        norm.weight,
        norm.bias,
        norm.training,
        norm.momentum,
        norm.eps,
    )
    if residual is not None:
        x = x + residual
    return F.relu(x) if relu else x


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


def _fixed_point(x: Tensor, step: Tensor, largest: Tensor, *, signed: bool) -> Tensor:
    return peer_quantizers.dq_fake_quantize(_wide(x), step, largest, signed=signed).to(x.dtype)


def _wide(x: Tensor) -> Tensor:
    """``x`` in the type that quantizers compute in, which half precision is too coarse for."""
    return x.to(_WIDE.get(x.dtype, x.dtype))


def _has_kernel(x: Tensor, interval: Tensor) -> bool:
    return x.device.type == "cpu" and _WIDE.get(x.dtype) == interval.dtype and native.available()


def _reference(x: Tensor, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """A reference function with its options, compiled if ``x`` is on a GPU."""
    if x.device.type == "cuda":
        return compiled(function, tuple(options.items()))
    return partial(function, **options)


@cache
def compiled(
    function: Callable[..., Any], options: tuple[tuple[str, Any], ...]
) -> Callable[..., Any]:
    """``function`` with its options as one fused kernel, for tensors of any shape."""
    readable = partial(function, **dict(options))

    def call(*tensors: Tensor) -> Any:
        return readable(*tensors)

    fast: list[Callable[..., Any]] = [torch.compile(call, dynamic=True)]

    def either(*tensors: Tensor) -> Any:
        try:
            return fast[0](*tensors)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a missing compiler shows itself in many ways
            if fast[0] is readable:
                raise
            warnings.warn(f"torch.compile failed, slower code stands in: {error}", stacklevel=2)
            fast[0] = readable
            return readable(*tensors)

    return either


def _unpacked(spec: QuantizerSpec) -> tuple[Tensor, Bitwidths, bool, int, bool]:
    return spec.thresholds, spec.bitwidths, spec.signed, spec.guess, spec.clip_only
