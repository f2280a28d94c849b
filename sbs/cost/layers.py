"""Shapes of the layers that have a cost: every convolution and every linear layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sbs.networks.prunable import Prunable
from sbs.policy import Policy, uniform_policy


@dataclass(frozen=True)
class LayerShape:
    """Shape of one layer; a linear layer is a 1x1 convolution on one pixel a row of its input.

    Attributes:
        name: name of the layer in the network.
        kind: convolution of images, of signals (their height is 1), or linear layer.
        in_channels: input channels or features.
        out_channels: filters or output features.
        kernel: height and width.
        groups: groups of a convolution.
        input_size: height and width of the input.
        output_size: height and width of the output.
        first: whether it reads the image.
        last: whether no other layer reads its output.
    """

    name: str
    kind: Literal["conv", "conv1d", "linear"]
    in_channels: int
    out_channels: int
    kernel: tuple[int, int]
    groups: int
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    first: bool = False
    last: bool = False

    @property
    def end(self) -> bool:
        """Whether it is the first or the last layer, or one of several."""
        return self.first or self.last

    @property
    def depthwise(self) -> bool:
        """Whether each filter reads one input channel of its own."""
        return self.groups == self.in_channels > 1

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(filters, channels per group, kernel's sizes), or (outputs, inputs) of a linear layer."""
        kernel = {"linear": (), "conv1d": self.kernel[1:], "conv": self.kernel}[self.kind]
        return (self.out_channels, self.in_channels // self.groups, *kernel)

    @property
    def weight_elements(self) -> int:
        """Number of weights; biases are not counted."""
        return self.out_channels * (self.in_channels // self.groups) * math.prod(self.kernel)

    @property
    def input_elements(self) -> int:
        """Number of input activations of one image."""
        return self.in_channels * math.prod(self.input_size)

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one image."""
        return self.weight_elements * math.prod(self.output_size)


def prune_shapes(
    layers: Iterable[LayerShape], prunables: Iterable[Prunable], policy: Policy
) -> tuple[LayerShape, ...]:
    """Shapes after the pruning of ``policy``, including the layers that shrink with the filters."""
    shapes = {layer.name: layer for layer in layers}
    for prunable in prunables:
        kept = policy.layers[prunable.layer].kept
        if kept is None:
            continue
        filters = shapes[prunable.layer].out_channels
        for name in (prunable.layer, *prunable.producers):
            shapes[name] = with_channels(shapes[name], len(kept), shapes[name].in_channels)
        for span in prunable.consumers:
            reader = shapes[span.name]
            removed = filters - len(kept)
            shapes[span.name] = replace(
                reader, in_channels=reader.in_channels - removed * span.repeat
            )
    return tuple(shapes.values())


def with_channels(shape: LayerShape, filters: int, inputs: int) -> LayerShape:
    """The layer with other numbers of channels; those of a depthwise layer follow its filters."""
    if shape.depthwise:
        return replace(shape, in_channels=filters, out_channels=filters, groups=filters)
    return replace(shape, in_channels=inputs, out_channels=filters)


def uniform_policy_of(network: str, layers: Sequence[LayerShape], bits: int) -> Policy:
    """The same bitwidth in all layers but the ends, see :func:`sbs.policy.uniform_policy`.

    Args:
        network: network name.
        layers: its layers.
        bits: weight and activation bitwidth.
    """
    ends = {layer.name for layer in layers if layer.end}
    return uniform_policy(network, [layer.name for layer in layers], bits, ends=ends)
