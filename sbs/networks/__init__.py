"""The networks of the paper, by name."""

from __future__ import annotations

from torch import nn

from sbs.errors import SBSError
from sbs.networks import resnet_cifar
from sbs.networks.spec import NetworkSpec, Prunable

__all__ = ["NetworkSpec", "Prunable", "build_network", "get_spec", "network_names"]

CIFAR_RESNETS = {f"resnet{depth}": depth for depth in (20, 32, 44, 56)}
TORCHVISION = ("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3")


def network_names() -> list[str]:
    """Names that :func:`get_spec` knows."""
    return [*CIFAR_RESNETS, *TORCHVISION]


def get_spec(name: str) -> NetworkSpec:
    """Description of a network.

    Raises:
        SBSError: there is no network of this name.
    """
    if name in CIFAR_RESNETS:
        return resnet_cifar.spec(CIFAR_RESNETS[name])
    if name in TORCHVISION:
        # torchvision takes a second to import, which the small networks need not wait for.
        from sbs.networks.torchvision_models import specs

        return next(spec for spec in specs() if spec.name == name)
    raise SBSError(f"unknown network {name!r}; known are {', '.join(network_names())}")


def build_network(name: str, classes: int, in_channels: int = 3) -> nn.Module:
    """A network with fresh weights, drawn from PyTorch's global generator.

    Raises:
        SBSError: there is no network of this name, or it cannot read so many channels.
    """
    return get_spec(name).build(classes, in_channels)
