"""A network and its input, as the command line names them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from sbs.errors import SBSError


def made_by(name: str) -> nn.Module:
    """The network that a function returns.

    Args:
        name: ``package.module:function``; modules of the working folder are found too.

    Raises:
        SBSError: there is no such function, it fails, or it returns something else.
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise SBSError(f"{name!r}: give package.module:function, such as my_networks:tiny")
    sys.path.insert(0, str(Path.cwd()))
    try:
        made = getattr(import_module(module), function)()
    except Exception as error:  # it is the user's own code
        raise SBSError(f"{name}: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise SBSError(f"{name}: returns a {type(made).__name__}; it must return a torch.nn.Module")
    return made


def example_of(shapes: Sequence[str]) -> tuple[Tensor, ...]:
    """Zeros for inputs of the given shapes, one image each.

    Args:
        shapes: such as ``3,224,224``, one for each input.

    Raises:
        SBSError: a shape is not a list of positive numbers.
    """
    return tuple(torch.zeros(1, *_sizes(shape)) for shape in shapes)


def _sizes(shape: str) -> list[int]:
    words = shape.split(",")
    if not all(word.strip().isdecimal() and int(word) for word in words):
        raise SBSError(f"--shape {shape}: give positive numbers with commas, such as 3,224,224")
    return [int(word) for word in words]
