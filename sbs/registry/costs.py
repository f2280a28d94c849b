"""Registered cost models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from sbs.errors import SBSError
from sbs.policy import FULL_PRECISION
from sbs.registry.discovery import Registry, Room, imported


class Sizes(Protocol):
    """Sizes of a layer for one image: numbers, or tensors with one entry per layer."""

    @property
    def macs(self) -> Any:
        """Multiply-accumulate operations."""
        ...

    @property
    def weight_elements(self) -> Any:
        """Number of weights."""
        ...

    @property
    def input_elements(self) -> Any:
        """Number of input activations."""
        ...


@dataclass(frozen=True)
class CostModel:
    """A cost that is summed over the layers of a network.

    Attributes:
        name: value of ``search.resource`` that selects it.
        label: name for people.
        unit: unit of a printed cost, which is the cost divided by ``scale``.
        scale: see ``unit``.
        layer: cost of a layer from its sizes, weight bits and activation bits. See ``closed_form``.
        closed_form: whether ``layer`` uses only arithmetic operators, on :class:`Sizes` and bits
            that are numbers or tensors; the search then differentiates it. Otherwise ``layer`` gets
            a :class:`sbs.cost.layers.LayerShape` and whole numbers of bits, and the search
            interpolates between its values.
        highest_bits: most bits of a tensor for which it is known.
        configured: the model for what follows its name and a colon, such as a file. None: nothing
            can follow.
        argument: what has to follow the name, for messages; empty if nothing has to.
        file: the file that the model was made from, if there is one.
    """

    name: str
    label: str
    unit: str
    scale: float
    layer: Callable[[Any, Any, Any], Any]
    closed_form: bool = True
    highest_bits: int = FULL_PRECISION
    configured: Callable[[str], CostModel] | None = None
    argument: str = ""
    file: Path | None = None

    def number(self, cost: float) -> str:
        """A cost in ``unit`` for people: four significant digits, or a whole number."""
        value = cost / self.scale
        return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


ROOM = Room("cost model", "cost", "COSTS")
COSTS: Registry[CostModel] = Registry(ROOM, imported(ROOM))

cost_models = COSTS.all


def cost_model(name: str) -> CostModel:
    """The cost model of a name, or of a name, a colon and what configures the model.

    Raises:
        SBSError: the name is not registered, or what follows it is missing or wrong.
    """
    base, colon, argument = name.partition(":")
    model = COSTS.named(base)
    if colon and model.configured is None:
        raise SBSError(f"cost model {name!r}: nothing can follow {base!r}; remove the colon")
    if model.argument and not argument:
        raise SBSError(f"cost model {name!r}: write {model.argument}")
    if colon and not argument:
        raise SBSError(f"cost model {name!r}: nothing follows the colon; name a file, or remove it")
    return _configured(name) if argument else model


@cache
def _configured(name: str) -> CostModel:
    """A configured model. Cached: it can stand for a file, and a search asks for it often."""
    base, _, argument = name.partition(":")
    configured = COSTS.named(base).configured
    assert configured is not None
    return replace(configured(argument), name=name)
