"""Datasets by name, known without importing PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from sbs.registry.discovery import Registry, Room


@dataclass(frozen=True)
class RegisteredDataset:
    """A dataset that a module registers by an entry of its ``DATASETS``.

    Attributes:
        name: what scale files and file names call it.
        module: dotted name of the module; its function ``load(name, directory, cache)`` reads it.
        label: what people call it.
        classes: number of classes.
        image: (C, H, W) of an image.
    """

    name: str
    module: str
    label: str
    classes: int
    image: tuple[int, int, int]


def _load(module: str) -> list[RegisteredDataset]:
    literal = ROOM.literal(module)
    return [RegisteredDataset(name, module, **facts) for name, facts in literal.items()]


ROOM = Room("dataset", "data", "DATASETS")
DATASETS = Registry(ROOM, _load)

dataset = DATASETS.named
datasets = DATASETS.all
