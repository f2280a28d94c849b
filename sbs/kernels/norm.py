"""Batch norm, addition, ReLU and the following quantizer in one pass over memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sbs.kernels import autograd as functions
from sbs.kernels import build as native
from sbs.kernels.fused import WIDE, Quantized, QuantizerSpec
from sbs.kernels.shared_norm import SharedBatchNorm


@dataclass(frozen=True)
class Norm:
    """A batch norm, in training or with running statistics.

    Attributes:
        weight: scale (C,).
        bias: shift (C,).
        running_mean: running mean (C,); updated in place in training.
        running_var: running variance (C,); updated in place in training.
        training: use the statistics of the batch.
        momentum: weight of the batch in the running statistics.
        eps: added to the variance.
        shared: in training, use the statistics of the batches of all processes.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    training: bool
    momentum: float
    eps: float
    shared: bool = False


def joins_norm(raw: Tensor) -> bool:
    """Whether :func:`norm_quantize` has a kernel for a batch norm of ``raw``."""
    return (
        raw.dim() == 4
        and raw.numel() > raw.shape[1]
        and raw.is_contiguous(memory_format=torch.channels_last)
        and raw.device.type == "cpu"
        and raw.dtype in WIDE
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
    """Batch norm, addition, ReLU and quantizer in one operation.

    Args:
        raw: (N, C, H, W); :func:`joins_norm` must be true for it.
        norm: batch norm, applied first.
        residual: tensor to add, shaped like ``raw``, or None.
        interval: scalar v.
        spec: bitwidths of the quantizer.
        relu: apply a ReLU after the addition.
        keep: also return the quantizer's input.

    Returns:
        the quantizer's output; its input if ``keep`` or if there is a residual, else None.
    """
    if residual is not None:
        residual = residual.to(raw.dtype).contiguous(memory_format=torch.channels_last)
    keep = keep or residual is not None
    y, kept, raw_gates, metrics, bits = functions.NormQuantize.apply(
        raw, norm.weight, norm.bias, residual, interval, *spec.operands, norm, relu, keep
    )
    return Quantized(y, raw_gates, metrics, bits), kept


def norm_reference(raw: Tensor, norm: Norm, residual: Tensor | None, *, relu: bool) -> Tensor:
    """Input of the quantizer, computed by PyTorch's own functions."""
    operands = norm.weight, norm.bias
    running = norm.running_mean, norm.running_var
    if norm.training and norm.shared:
        x: Tensor = SharedBatchNorm.apply(raw, *operands, *running, norm.momentum, norm.eps)
    else:
        x = F.batch_norm(raw, *running, *operands, norm.training, norm.momentum, norm.eps)
    if residual is not None:
        x = x + residual
    return F.relu(x) if relu else x
