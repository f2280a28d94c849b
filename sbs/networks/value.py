"""What a walk over a network's graph knows of a tensor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sbs.networks.channels import Channels, Group, Segment


@dataclass(frozen=True)
class Value:
    """What is known of a tensor.

    Attributes:
        channels: those that it has; None if they are others, or in another order.
        signed: whether it can be negative.
        layers: layers whose outputs reach it without passing another layer.
    """

    channels: Channels | None
    signed: bool
    layers: frozenset[str]

    def keep(self, reason: str) -> None:
        """Note that none of the channels can be removed."""
        for group in self.channels.groups() if self.channels is not None else ():
            group.keep(reason)

    @property
    def group(self) -> Group | None:
        """The group that the channels are, if they are those of one alone."""
        return None if self.channels is None else self.channels.only

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The parts of its channels."""
        return () if self.channels is None else self.channels.segments

    def flattened(self) -> Value:
        """The same as (N, features)."""
        return replace(self, channels=self.channels and self.channels.flattened())


INPUT = Value(None, True, frozenset())
"""What the network is given."""


def as_many(inputs: Iterable[Value]) -> Channels | None:
    """Channels that stay, as many as all of the inputs have; None if they are not as many."""
    found = {value.channels.whole() for value in inputs if value.channels is not None}
    return found.pop() if len(found) == 1 else None


def any_signed(inputs: Iterable[Value]) -> bool:
    """Whether one of them can be negative."""
    return any(value.signed for value in inputs)


def all_layers(inputs: Iterable[Value]) -> frozenset[str]:
    """Layers whose outputs reach one of them."""
    return frozenset().union(*(value.layers for value in inputs))
