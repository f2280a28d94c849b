"""Filters that can be removed, and what shrinks with them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prunable:
    """A convolution that can lose filters, and the layers that shrink with it.

    Attributes:
        layer: the convolution; in the paper's networks the first of a residual block (section 4.2).
        norms: batch norms over its channels; the one directly after it comes first.
        producers: other layers whose filters are the same channels: the depthwise convolution that
            follows, and the second squeeze-and-excitation layer.
        consumers: layers whose input channels these are.
    """

    layer: str
    norms: tuple[str, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
