"""Shapes of a network's layers, recorded in a forward pass."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sbs.cost.layers import LayerShape
from sbs.errors import SBSError
from sbs.networks.graph import switches
from sbs.networks.structure import Structure, structure_of


def trace_layers(model: nn.Module, input_shape: Sequence[int]) -> tuple[LayerShape, ...]:
    """Shapes of a network's layers in forward order, from a forward pass with a zero image.

    Args:
        model: the network; not changed. On the meta device no values are computed.
        input_shape: shape (C, H, W) of an image.

    Raises:
        SBSError: the network cannot be traced, or does not read such images.
    """
    dtype = next(model.parameters()).dtype
    image = torch.zeros(1, *input_shape, dtype=dtype, device=tracing_device(model))
    return trace_with(model, (image,))


def trace_with(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[LayerShape, ...]:
    """Like :func:`trace_layers`, for given inputs of the network, of one image each.

    Args:
        model: the network; not changed.
        inputs: its positional arguments, on the CPU, or on the meta device as the network.

    Raises:
        SBSError: the network cannot be traced, does not run on these inputs, or computes something
            else with them than without.
    """
    _check_switches(model, inputs)
    structure = structure_of(model)
    shapes: list[LayerShape] = []
    twin = copy.deepcopy(model).to(tracing_device(model)).eval()
    for name in structure.layers:
        twin.get_submodule(name).register_forward_hook(_recorder(name, structure, shapes))
    with torch.no_grad():
        run_on(twin, inputs)
    return tuple(shapes)


def _check_switches(model: nn.Module, inputs: tuple[Any, ...]) -> None:
    parameters = list(inspect.signature(model.forward).parameters)[: len(inputs)]
    for name, default in switches(model).items():
        if name in parameters:
            raise SBSError(
                f"{type(model).__name__}: the argument {name!r} of its forward is {default} unless "
                "given, which can decide what it computes; it is compressed without it. Leave it "
                "out of the example input, or wrap the network in a module whose forward has no "
                "default for it"
            )


def tracing_device(model: nn.Module) -> torch.device:
    """The CPU: a pass on the meta device loads the compiler, which takes longer than the pass."""
    on_meta = any(parameter.is_meta for parameter in model.parameters())
    return torch.device("meta" if on_meta else "cpu")


def run_on(model: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Run a network on an example, and say so if it does not take it.

    Raises:
        SBSError: the network does not run on these inputs.
    """
    try:
        model(*inputs)
    except Exception as error:  # somebody's own forward pass can raise anything
        given = ", ".join(map(_described, inputs))
        why = str(error).partition("\n")[0]
        raise SBSError(
            f"{type(model).__name__} does not run on the example input ({given}): {why}. Give the "
            "input of one item: a tensor (1, ...), or a tuple of the network's arguments"
        ) from error


def _described(value: object) -> str:
    kind = type(value).__name__
    return f"{kind} {tuple(value.shape)}" if isinstance(value, Tensor) else kind


def _recorder(name: str, structure: Structure, shapes: list[LayerShape]) -> Callable[..., None]:
    first, last = name in structure.first, name in structure.last

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Linear):
            features = module.in_features, module.out_features
            rows = inputs[0].numel() // module.in_features, 1
            shapes.append(LayerShape(name, "linear", *features, (1, 1), 1, rows, rows, first, last))
            return
        assert isinstance(module, nn.Conv1d | nn.Conv2d)
        shapes.append(
            LayerShape(
                name,
                "conv1d" if isinstance(module, nn.Conv1d) else "conv",
                module.in_channels,
                module.out_channels,
                _two(module.kernel_size),
                module.groups,
                _two(inputs[0].shape[2:]),
                _two(output.shape[2:]),
                first,
                last,
            )
        )

    return record


def _two(sizes: Sequence[int]) -> tuple[int, int]:
    """Height and width; a signal has the height 1."""
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])
