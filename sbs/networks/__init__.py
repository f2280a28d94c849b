"""The networks of the paper, by name.

A module here or in another package registers networks with a dictionary ``NETWORKS``, and a
function ``spec(name)`` that describes each of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sbs.networks.prunable import Prunable
from sbs.networks.spec import NetworkSpec, RegisteredNetwork
from sbs.registry.networks import network

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NetworkSpec", "Prunable", "RegisteredNetwork", "build_network", "get_spec"]


def get_spec(name: str) -> RegisteredNetwork:
    """Description of a registered network.

    Raises:
        SBSError: the name is not registered.
    """
    spec: RegisteredNetwork = import_module(network(name).module).spec(name)
    return spec


def build_network(name: str, classes: int, in_channels: int = 3) -> nn.Module:
    """A network with new random weights, from PyTorch's global generator.

    Raises:
        SBSError: the name is not registered, or the network does not accept this many channels.
    """
    return get_spec(name).build(classes, in_channels)
