"""The compiled kernels as autograd functions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sbs.policy import Bitwidths


class Standardize(torch.autograd.Function):
    """Standardization of weights; mean and deviation are constants for the gradient."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, mask: Tensor | None) -> Tensor:
        """Compute, and save what the gradients need."""
        result: Tensor
        result, inverse = torch.ops.sbs.standardize(_dense(w.detach()), mask)
        ctx.save_for_backward(inverse)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Gradients of the tensor arguments of :meth:`forward`."""
        (inverse,) = ctx.saved_tensors
        return grads[0] * inverse, None


class Quantize(torch.autograd.Function):
    """One quantizer, with gates or at a fixed bitwidth."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        interval: Tensor,
        thresholds: Tensor,
        bitwidths: Bitwidths,
        signed: bool,
        guess: int,
        clip_only: bool,
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """Compute, and save what the gradients need."""
        x = _dense(x)
        y, raw, metrics, bits = torch.ops.sbs.quantize(
            x, interval, thresholds, bitwidths, guess, signed
        )
        ctx.save_for_backward(x, interval, thresholds, raw, metrics)
        ctx.options = bitwidths, bits, signed, clip_only
        ctx.mark_non_differentiable(metrics)
        ctx.set_materialize_grads(False)
        return y, raw, metrics, bits

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the tensor arguments of :meth:`forward`."""
        x, interval, thresholds, raw, metrics = ctx.saved_tensors
        grad_y = torch.zeros_like(x) if grads[0] is None else grads[0]
        results = torch.ops.sbs.quantize_backward(
            grad_y,
            _or_zeros(grads[1], raw),
            x,
            interval,
            thresholds,
            raw,
            metrics,
            *ctx.options,
            ctx.needs_input_grad[2],
        )
        return *results, None, None, None, None


class FixedPoint(torch.autograd.Function):
    """Quantizer of DQ."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, largest: Tensor, signed: bool) -> Tensor:
        """Compute, and save what the gradients need."""
        x = _dense(x)
        ctx.save_for_backward(x, step, largest)
        ctx.signed = signed
        y: Tensor = torch.ops.sbs.fixed_point(x, step, largest, signed)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the tensor arguments of :meth:`forward`."""
        results = torch.ops.sbs.fixed_point_backward(grads[0], *ctx.saved_tensors, ctx.signed)
        return *results, None


class NormQuantize(torch.autograd.Function):
    """Batch norm, addition, ReLU and quantizer. ``norm`` is a :class:`sbs.kernels.norm.Norm`."""

    @staticmethod
    def forward(
        ctx: Any,
        raw: Tensor,
        weight: Tensor,
        bias: Tensor,
        residual: Tensor | None,
        interval: Tensor,
        thresholds: Tensor,
        bitwidths: Bitwidths,
        signed: bool,
        guess: int,
        clip_only: bool,
        norm: Any,
        relu: bool,
        keep: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor, int]:
        """Compute, and save what the gradients need."""
        y, kept, raw_gates, metrics, mean, inverse, bits = torch.ops.sbs.norm_quantize(
            raw,
            weight,
            bias,
            norm.running_mean,
            norm.running_var,
            norm.training,
            norm.momentum,
            norm.eps,
            residual,
            relu,
            keep,
            interval,
            thresholds,
            bitwidths,
            guess,
            signed,
        )
        recorded = kept if residual is not None else None
        ctx.save_for_backward(
            raw, recorded, weight, bias, mean, inverse, interval, thresholds, raw_gates, metrics
        )
        ctx.relu, ctx.options = relu, (bitwidths, bits, signed, clip_only)
        ctx.mark_non_differentiable(metrics)
        ctx.set_materialize_grads(False)
        return y, kept, raw_gates, metrics, bits

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the tensor arguments of :meth:`forward`."""
        raw, kept, weight, bias, mean, inverse, interval, thresholds, raw_gates, metrics = (
            ctx.saved_tensors
        )
        *by_tensor, grad_interval, grad_thresholds = torch.ops.sbs.norm_quantize_backward(
            grads[0],
            grads[1],
            _or_zeros(grads[2], raw_gates),
            raw,
            kept,
            weight,
            bias,
            mean,
            inverse,
            ctx.relu,
            interval,
            thresholds,
            raw_gates,
            metrics,
            *ctx.options,
            ctx.needs_input_grad[5],
        )
        return *by_tensor, grad_interval, grad_thresholds, *[None] * 7


def _or_zeros(grad: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if grad is None else grad


def _dense(x: Tensor) -> Tensor:
    """``x``; copied if its memory has gaps."""
    if x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)):
        return x
    return x.contiguous()
