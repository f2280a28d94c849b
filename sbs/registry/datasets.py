"""Datasets by name, known without importing PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from sbs.registry.discovery import Room, unknown

ROOM = Room("dataset", "data", "DATASETS")


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


def dataset(name: str) -> RegisteredDataset:
    """The dataset of a name.

    Raises:
        SBSError: nobody registered it.
    """
    if name not in datasets():
        raise unknown(ROOM.kind, name, list(datasets()))
    return datasets()[name]


@cache
def datasets() -> Mapping[str, RegisteredDataset]:
    """All datasets by name."""
    return {
        name: RegisteredDataset(name, module, **facts)
        for module in ROOM.modules()
        for name, facts in ROOM.literal(module).items()
    }
