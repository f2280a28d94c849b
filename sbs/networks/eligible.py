"""Which layers of a network surgery can replace."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

from torch import fx, nn

from sbs.nn.convolution import FastConv2d

Layer: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Linear
"""Layers that can be quantized."""

_FORWARD = {nn.Conv1d.forward, nn.Conv2d.forward, nn.Linear.forward}
_CONVOLVE = {
    *(nn.Conv1d._conv_forward, nn.Conv2d._conv_forward, FastConv2d._conv_forward),
    None,
}


def computes_like_pytorch(layer: Layer) -> bool:
    """Whether the layer's class has PyTorch's forward pass."""
    kind = type(layer)
    return kind.forward in _FORWARD and getattr(kind, "_conv_forward", None) in _CONVOLVE


class Eligible:
    """The layers of a network that surgery can replace by quantized ones."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        """Count how often the network uses each layer and each tensor of weights.

        Args:
            model: the network.
            graph: its graph.
        """
        self._calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
        self._owners = Counter(
            id(value) for module in model.modules() for value in module._parameters.values()
        )

    def why_not(self, name: str, layer: Layer) -> str:
        """Why a layer has to stay as it is; empty if it can be replaced.

        Args:
            name: its name in the graph.
            layer: the layer.
        """
        if self._calls[name] > 1:
            return f"{name} is used at several places"
        own = [value for value in layer._parameters.values() if value is not None]
        if any(self._owners[id(value)] > 1 for value in own):
            return f"{name} shares its weights with another layer"
        if not computes_like_pytorch(layer):
            return f"{name} ({type(layer).__name__}) has a forward pass of its own"
        if "weight" not in layer._parameters:
            return f"{name} computes its weights from others"
        return ""
