"""Shapes of a network's layers, recorded in a forward pass."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sbs.cost.layers import LayerShape


def trace_layers(model: nn.Module, input_shape: Sequence[int]) -> tuple[LayerShape, ...]:
    """Shapes of a network's layers in forward order, from a forward pass with a zero image.

    Args:
        model: the network; not changed.
        input_shape: shape (C, H, W) of an image.
    """
    dtype = next(model.parameters()).dtype
    return trace_with(model, (torch.zeros(1, *input_shape, dtype=dtype, device="cpu"),))


def trace_with(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[LayerShape, ...]:
    """Like :func:`trace_layers`, for given inputs of the network, of one image each.

    Args:
        model: the network; not changed.
        inputs: its positional arguments, on the CPU.
    """
    shapes: list[LayerShape] = []
    # Not on the meta device: that would load the compiler, which takes longer than the pass.
    twin = copy.deepcopy(model).cpu().eval()
    for name, module in twin.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(_recorder(name, shapes))
    with torch.no_grad():
        twin(*inputs)
    return tuple(replace(shape, first=place == 0) for place, shape in enumerate(shapes))


def _recorder(name: str, shapes: list[LayerShape]) -> Any:
    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            kernel = (module.kernel_size[0], module.kernel_size[1])
            read, written = inputs[0].shape[-2:], output.shape[-2:]
            sizes = (read[0], read[1]), (written[0], written[1])
            channels = module.in_channels, module.out_channels
            shapes.append(LayerShape(name, "conv", *channels, kernel, module.groups, *sizes))
        elif isinstance(module, nn.Linear):
            channels = module.in_features, module.out_features
            shapes.append(LayerShape(name, "linear", *channels, (1, 1), 1, (1, 1), (1, 1)))

    return record
