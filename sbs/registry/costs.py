"""What the rest of the project needs to know of a cost model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from sbs.registry.discovery import Registry, Room, imported


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


ROOM = Room("cost model", "cost", "COSTS")
COSTS: Registry[CostModel] = Registry(ROOM, imported(ROOM))

cost_model = COSTS.named
cost_models = COSTS.all
