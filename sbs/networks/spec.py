"""Description of a network for surgery, cost and search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Prunable:
    """A convolution that can lose filters, and the layers that shrink with it.

    Attributes:
        layer: the first convolution of a residual block (section 4.2).
        norms: batch norms over its channels; the one directly after it comes first.
        producers: other layers whose filters are the same channels: the depthwise convolution that
            follows, and the second squeeze-and-excitation layer.
        consumers: layers whose input channels these are.
    """

    layer: str
    norms: tuple[str, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]


@dataclass(frozen=True)
class NetworkSpec:
    """Description of a network.

    Attributes:
        name: its name.
        build: (classes, input channels) -> network with new random weights.
        prunables: (network) -> its prunable convolutions.
        signed_inputs: (network) -> names of the layers whose input can be negative.
        image_size: height and width of the images in the paper's dataset.
        classes: number of classes in that dataset.
        first_layer: name of the layer that reads the image.
        last_layer: name of the layer that outputs the logits.
    """

    name: str
    build: Callable[[int, int], nn.Module]
    prunables: Callable[[nn.Module], tuple[Prunable, ...]]
    signed_inputs: Callable[[nn.Module], frozenset[str]]
    image_size: int
    classes: int
    first_layer: str
    last_layer: str
