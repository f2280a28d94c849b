"""Registered cost models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

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
        layer: cost of a layer from its sizes, weight bits and activation bits. It is called with
            numbers and, in the search, with tensors. So it must use only arithmetic operators,
            which the search can differentiate.
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
