"""Batch norm with the statistics of a batch that is spread over several processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sbs.runtime import processes


class SharedBatchNorm(torch.autograd.Function):
    """Batch norm in training, over all processes.

    PyTorch's own, ``SyncBatchNorm``, works on GPUs only.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        """Normalise x (N, C, ...); update the running statistics in place."""
        mean, var, elements = _moments(x)
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * (elements / (elements - 1).clamp(min=1)), momentum)
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt(), elements)
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the tensor arguments of :meth:`forward`.

        That of x is of the sum of all processes' losses, because its statistics are in all of
        them. Those of weight and bias are of this process's loss; the training adds them up.
        """
        x, weight, mean, inverse, elements = ctx.saved_tensors
        grad = grads[0].to(mean.dtype)
        normalized = (x - _by_channel(mean, x)) * _by_channel(inverse, x)
        over = _all_but_channels(x)
        own = torch.stack([grad.sum(over), (grad * normalized).sum(over)])
        shift, slope = processes.total(own) / elements
        centred = grad - _by_channel(shift, x) - normalized * _by_channel(slope, x)
        grad_x = (centred * _by_channel(weight * inverse, x)).to(x.dtype)
        return grad_x, own[1], own[0], None, None, None, None


def _moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance (C) over all processes, and the number of values that each is of."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    var, mean = torch.var_mean(wide, _all_but_channels(x), correction=0)
    elements = mean.new_full((1, len(mean)), x.numel() // x.shape[1])
    everyone = processes.stacked(torch.cat([mean[None], var[None], elements]))
    means, variances, sizes = everyone.unbind(1)
    elements = sizes.sum(0)
    mean = (sizes * means).sum(0) / elements
    var = (sizes * (variances + (means - mean).square())).sum(0) / elements
    return mean, var, elements


def _all_but_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.dim()) if dim != 1]


def _by_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.dim() - 2))
