"""Which filters of which layers are the same channels."""

from __future__ import annotations

from dataclasses import dataclass, field

from sbs.networks.prunable import Prunable


@dataclass
class Group:
    """Channels that a convolution outputs, with all that has a weight for each of them.

    Attributes:
        layer: the convolution.
        norms: batch norms over these channels.
        producers: other layers whose outputs they are.
        consumers: layers that read them.
        whole: why none of them can be removed; empty if they can.
    """

    layer: str
    norms: list[str] = field(default_factory=list)
    producers: list[str] = field(default_factory=list)
    consumers: list[str] = field(default_factory=list)
    whole: str = ""

    def keep(self, reason: str) -> None:
        """Note that no channel can be removed; the first reason stays."""
        self.whole = self.whole or reason

    def absorb(self, other: Group) -> None:
        """Make the channels of another group these; channel by channel, one scales the other."""
        self.norms += other.norms
        self.producers += [other.layer, *other.producers]
        self.consumers += other.consumers
        self.keep(other.whole)

    def prunable(self) -> Prunable:
        """The convolution with all that shrinks with it."""
        return Prunable(self.layer, tuple(self.norms), tuple(self.producers), tuple(self.consumers))
