"""What surgery, cost and search need to know of a network besides its modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Prunable:
    """A convolution that may lose filters, and all that shrinks with it.

    Attributes:
        layer: the first convolution of a residual block (section 4.2).
        norms: batch norms over its channels, the one right behind it first.
        producers: other layers whose filters are the same channels: a depthwise convolution in
            between, the second squeeze-and-excitation layer.
        consumers: layers that read the channels.
    """

    layer: str
    norms: tuple[str, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]


@dataclass(frozen=True)
class NetworkSpec:
    """A network by name.

    Attributes:
        name: its name.
        build: (classes, input channels) -> network with fresh weights.
        prunables: its prunable convolutions.
        signed_inputs: names of the layers whose input can be negative.
        image_size: height and width of the images of the paper's dataset.
        classes: classes of that dataset.
        first_layer: name of the layer that reads the image.
        last_layer: name of the layer that gives the logits.
    """

    name: str
    build: Callable[[int, int], nn.Module]
    prunables: Callable[[nn.Module], tuple[Prunable, ...]]
    signed_inputs: Callable[[nn.Module], frozenset[str]]
    image_size: int
    classes: int
    first_layer: str
    last_layer: str
