"""Registered networks. Listing them does not import PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from sbs.registry.discovery import Registry, Room


@dataclass(frozen=True)
class RegisteredNetwork:
    """A network: one entry of a module's ``NETWORKS``.

    Attributes:
        name: name in the experiments sheet and in file names.
        module: dotted name of the module; its function ``spec(name)`` describes the network.
        label: name for people.
        published: name in the file of published values.
    """

    name: str
    module: str
    label: str
    published: str


def _load(module: str) -> list[RegisteredNetwork]:
    return [
        RegisteredNetwork(name, module, facts["label"], facts.get("published", name))
        for name, facts in ROOM.literal(module).items()
    ]


ROOM = Room("network", "networks", "NETWORKS")
NETWORKS = Registry(ROOM, _load)

network = NETWORKS.named
networks = NETWORKS.all
