"""What the rest of the project needs to know of a cost model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Protocol

from sbs.registry.discovery import Room, unknown

ROOM = Room("cost model", "cost", "COSTS")


class Sizes(Protocol):
    """Sizes of a layer for one image: numbers, or tensors with an entry a layer."""

    @property
    def macs(self) -> Any:
        """Multiply-accumulates."""
        ...

    @property
    def weight_elements(self) -> Any:
        """Weights."""
        ...

    @property
    def input_elements(self) -> Any:
        """Input activations."""
        ...


@dataclass(frozen=True)
class CostModel:
    """A cost of layers that adds up over a network.

    Attributes:
        name: what ``search.resource`` calls it.
        label: what people call it.
        unit: for people; a printed cost is the cost over ``scale`` in this unit.
        scale: see ``unit``.
        layer: cost of a layer from its sizes, weight bits and activation bits. The same function
            is called with numbers and with tensors, so it uses arithmetic operators alone; then
            the search differentiates it.
    """

    name: str
    label: str
    unit: str
    scale: float
    layer: Callable[[Sizes, Any, Any], Any]


def cost_model(name: str) -> CostModel:
    """The cost model of a name.

    Raises:
        SBSError: nobody registered it.
    """
    if name not in cost_models():
        raise unknown(ROOM.kind, name, list(cost_models()))
    return cost_models()[name]


@cache
def cost_models() -> Mapping[str, CostModel]:
    """All cost models by name."""
    found = [one for module in ROOM.modules() for one in import_module(module).COSTS]
    return {one.name: one for one in found}
