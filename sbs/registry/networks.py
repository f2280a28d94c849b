"""Networks by name, known without importing PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from sbs.registry.discovery import Room, unknown

ROOM = Room("network", "networks", "NETWORKS")


@dataclass(frozen=True)
class RegisteredNetwork:
    """A network that a module registers by an entry of its ``NETWORKS``.

    Attributes:
        name: what the experiments sheet and file names call it.
        module: dotted name of the module; its function ``spec(name)`` describes the network.
        label: what people call it.
        published: its name among the published values.
    """

    name: str
    module: str
    label: str
    published: str


def network(name: str) -> RegisteredNetwork:
    """The network of a name.

    Raises:
        SBSError: nobody registered it.
    """
    if name not in networks():
        raise unknown(ROOM.kind, name, list(networks()))
    return networks()[name]


@cache
def networks() -> Mapping[str, RegisteredNetwork]:
    """All networks by name."""
    return {
        name: RegisteredNetwork(name, module, facts["label"], facts.get("published", name))
        for module in ROOM.modules()
        for name, facts in ROOM.literal(module).items()
    }
