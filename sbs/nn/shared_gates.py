"""Pruning gates that a module shares: those of the channels that it reads or normalises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sbs.nn.filter_gate import FilterGate


@dataclass(frozen=True)
class _Shared:
    gate: FilterGate
    start: int
    repeat: int


class SharedGates:
    """Gates of other modules, and where their channels are here.

    They are not registered as submodules here; each belongs to its convolution.
    """

    def __init__(self) -> None:
        self._shared: list[_Shared] = []

    def __bool__(self) -> bool:
        """Whether there is any gate."""
        return bool(self._shared)

    def add(self, gate: FilterGate, start: int = 0, repeat: int = 1) -> None:
        """Add a gate.

        Args:
            gate: the gate.
            start: place of its first channel.
            repeat: places that each of its channels takes.
        """
        self._shared.append(_Shared(gate, start, repeat))
        self._shared.sort(key=lambda one: one.start)

    def vector(self, places: int, values: Callable[[FilterGate], Tensor]) -> Tensor:
        """A value for each place: that of the gate there, or 1. Needs at least one gate.

        Args:
            places: number of places.
            values: of a gate, one for each of its filters.
        """
        parts, end = [], 0
        for one in self._shared:
            found = values(one.gate)
            if one.repeat > 1:
                found = found.repeat_interleave(one.repeat)
            if one.start > end:
                parts.append(found.new_ones(one.start - end))
            parts.append(found)
            end = one.start + len(found)
        if end < places:
            parts.append(parts[-1].new_ones(places - end))
        return parts[0] if len(parts) == 1 else torch.cat(parts)
