"""Which filters of which layers are the same channels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from sbs.networks.prunable import Prunable, Span


@dataclass(eq=False)
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
    norms: list[Span] = field(default_factory=list)
    producers: list[str] = field(default_factory=list)
    consumers: list[Span] = field(default_factory=list)
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


@dataclass(frozen=True)
class Segment:
    """Neighbouring channels of a tensor.

    Attributes:
        group: the channels that they are, all of them and in order; None: others, which stay.
        width: their number.
    """

    group: Group | None
    width: int


@dataclass(frozen=True)
class Channels:
    """The channels of a tensor (N, C, ...), in their order.

    Attributes:
        segments: of which groups they are.
        rank: dimensions of the tensor; with 2, each channel can be several features.
    """

    segments: tuple[Segment, ...]
    rank: int

    @classmethod
    def of(cls, group: Group | None, width: int, rank: int) -> Channels:
        """Those of one group, or others that stay."""
        return cls((Segment(group, width),), rank)

    def flattened(self) -> Channels:
        """The same as (N, features)."""
        return replace(self, rank=2)

    def whole(self) -> Channels:
        """As many channels that stay."""
        return self.of(None, self.width, self.rank)

    @property
    def width(self) -> int:
        """Number of channels."""
        return sum(segment.width for segment in self.segments)

    @property
    def only(self) -> Group | None:
        """The group, if they are those of one group alone."""
        return self.segments[0].group if len(self.segments) == 1 else None

    def groups(self) -> Iterator[Group]:
        """Every group among them."""
        yield from (segment.group for segment in self.segments if segment.group is not None)

    def spans(self, name: str, features: int) -> Iterator[tuple[Group, Span]]:
        """Where a module reads the channels of each group.

        Args:
            name: the module.
            features: number of features that it reads, a multiple of the number of channels.
        """
        start, repeat = 0, features // self.width
        for segment in self.segments:
            if segment.group is not None:
                yield segment.group, Span(name, start, repeat)
            start += segment.width * repeat

    def replaced(self, old: Group, new: Group) -> Channels:
        """The same with another group in the place of one."""
        found = (replace(one, group=new) if one.group is old else one for one in self.segments)
        return replace(self, segments=tuple(found))


def concatenated(parts: Iterable[Channels]) -> Channels:
    """The channels of several tensors of one rank, one after the other."""
    parts = list(parts)
    segments = tuple(segment for part in parts for segment in part.segments)
    return Channels(segments, parts[0].rank)
