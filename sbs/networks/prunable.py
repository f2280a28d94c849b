"""Filters that can be removed, and what shrinks with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Where the channels of a convolution are among those that another module reads.

    Attributes:
        name: the module.
        start: place of the first of them; more than 0 behind a concatenation.
        repeat: places that each of them takes; more than 1 behind a flattened image.
    """

    name: str
    start: int = 0
    repeat: int = 1

    def places(self, channels: Iterable[int]) -> list[int]:
        """The places of some of the channels."""
        return [
            self.start + channel * self.repeat + place
            for channel in channels
            for place in range(self.repeat)
        ]


@dataclass(frozen=True)
class Prunable:
    """A convolution that can lose filters, and the layers that shrink with it.

    Attributes:
        layer: the convolution; in the paper's networks the first of a residual block (section 4.2).
        norms: batch norms over its channels; the one directly after it comes first.
        producers: other layers whose filters are the same channels: the depthwise convolution that
            follows, and the second squeeze-and-excitation layer.
        consumers: layers that read these channels.
    """

    layer: str
    norms: tuple[Span, ...]
    producers: tuple[str, ...]
    consumers: tuple[Span, ...]
