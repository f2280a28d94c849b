"""Convolutions whose gradients are fast for depthwise layers too.

On CPUs oneDNN has very slow code for two of these gradients: of the weights of 5x5 kernels, and in
bf16 of the input of strided layers. benchmarks/README.md has the times.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sbs.kernels import build as native

Pair = tuple[int, int]


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """:func:`torch.nn.functional.conv2d`, with the same arguments.

    Args:
        x: input (N, C, H, W).
        weight: kernels (filters, C / groups, height, width).
        bias: one value per filter, or None.
        stride: vertical and horizontal.
        padding: zeros at each side, vertical and horizontal.
        dilation: distance of kernel elements, vertical and horizontal.
        groups: groups of channels.
    """
    if x.device.type == "cpu" and _is_depthwise(weight, stride, padding, dilation, groups):
        if torch.is_autocast_enabled("cpu"):
            half = torch.get_autocast_dtype("cpu")
            x, weight = x.to(half), weight.to(half)
        if _is_slow(x, weight, stride[0]) and native.available():
            y: Tensor = _Depthwise.apply(x, weight, stride[0], padding[0])
            return y if bias is None else y + bias.to(y.dtype).view(1, -1, 1, 1)
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        """Compute, and save what the gradients need."""
        ctx.save_for_backward(x, weight)
        ctx.options = stride, padding
        return F.conv2d(x, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the tensor arguments of :meth:`forward`."""
        results = torch.ops.sbs.depthwise_backward(grads[0], *ctx.saved_tensors, *ctx.options)
        return *results, None, None


def _is_depthwise(weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> bool:
    """Whether this is a convolution of one channel each that the compiled code knows."""
    return (
        groups == len(weight) > 1
        and weight.shape[1:] in ((1, 3, 3), (1, 5, 5))
        and stride[0] == stride[1]
        and padding[0] == padding[1]
        and dilation == (1, 1)
    )


def _is_slow(x: Tensor, weight: Tensor, stride: int) -> bool:
    return weight.shape[-1] == 5 or (stride > 1 and x.dtype == torch.bfloat16)
