"""Networks by name, known without importing PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from sbs.registry.discovery import Registry, Room


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


def _load(module: str) -> list[RegisteredNetwork]:
    return [
        RegisteredNetwork(name, module, facts["label"], facts.get("published", name))
        for name, facts in ROOM.literal(module).items()
    ]


ROOM = Room("network", "networks", "NETWORKS")
NETWORKS = Registry(ROOM, _load)

network = NETWORKS.named
networks = NETWORKS.all
