"""What operations do to channels and signs: those that the derivation of a structure knows."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

PASSING_MODULES = (
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d),
    *(nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool1d),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity, nn.Upsample),
    *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ReflectionPad1d, nn.ReflectionPad2d),
    *(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.CircularPad1d, nn.CircularPad2d),
)
"""Modules that keep every channel where it is, and never make a value negative."""

RECTIFYING_MODULES = (nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Hardsigmoid, nn.Softplus)
"""Modules that work on each value alone, and output nothing negative."""

ACTIVATING_MODULES = (
    *(nn.Hardswish, nn.SiLU, nn.GELU, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.Mish, nn.Tanh),
    *(nn.Hardtanh, nn.Softsign),
)
"""Other modules that work on each value alone."""

PASSING: set[Any] = {
    *(F.max_pool2d, F.avg_pool2d, F.adaptive_max_pool2d, F.adaptive_avg_pool2d, F.interpolate),
    *(F.max_pool1d, F.avg_pool1d, F.adaptive_max_pool1d, F.adaptive_avg_pool1d),
    *(F.dropout, F.dropout1d, F.dropout2d, torch.max_pool2d, torch.clone),
    *("contiguous", "clone", "float", "to", "type_as", "detach"),
}
"""Functions, and names of methods, like :data:`PASSING_MODULES`."""

RECTIFYING: set[Any] = {
    *(F.relu, torch.relu, torch.relu_, F.relu6, torch.sigmoid, F.sigmoid, F.hardsigmoid),
    *("relu", "relu_", "sigmoid", "sigmoid_"),
}
"""Functions, and names of methods, like :data:`RECTIFYING_MODULES`."""

ACTIVATING: set[Any] = {
    *(F.hardswish, F.silu, F.gelu, F.leaky_relu, F.elu, F.selu, F.mish, torch.tanh, F.tanh),
    "tanh",
}
"""Functions, and names of methods, like :data:`ACTIVATING_MODULES`."""

DIFFERENCES: set[Any] = {operator.sub, operator.isub, torch.sub, torch.subtract, "sub", "sub_"}
SUMS: set[Any] = {operator.add, operator.iadd, torch.add, "add", "add_"} | DIFFERENCES
PRODUCTS: set[Any] = {operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_"}
FLATTENING: set[Any] = {torch.flatten, "flatten"}
MEANS: set[Any] = {torch.mean, "mean"}
RESHAPES: set[Any] = {torch.reshape, "reshape", "view"}
CONCATENATIONS: set[Any] = {torch.cat, torch.concat}
REARRANGING: set[Any] = {
    *(torch.chunk, torch.split, torch.transpose, torch.permute, torch.squeeze, torch.unsqueeze),
    *(operator.getitem, "chunk", "split", "transpose", "permute", "squeeze", "unsqueeze", "expand"),
}
"""Operations that move values, and change none."""

SIZES: set[Any] = {"size", "dim", "numel"}
"""Methods whose result is no tensor."""

FACTS = {"shape", "ndim", "dtype", "device", "is_cuda", "layout", "requires_grad"}
"""Attributes that are no tensor."""

OVERSHOOTING = {"bicubic"}
"""Modes of interpolation that make values outside of those that they are given."""


def is_stochastic_depth(operation: object) -> bool:
    """Whether this is torchvision's stochastic depth, module or function, which passes channels.

    Told by its name: importing torchvision would take longer than the rest of this package.
    """
    return getattr(operation, "__module__", None) == "torchvision.ops.stochastic_depth"
