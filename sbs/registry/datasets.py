"""Registered datasets. Listing them does not import PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from sbs.registry.discovery import Registry, Room


@dataclass(frozen=True)
class RegisteredDataset:
    """A dataset: one entry of a module's ``DATASETS``.

    Attributes:
        name: name in scale files and file names.
        module: dotted name of the module; its function ``load(name, directory, cache)`` reads it.
        label: name for people.
        classes: number of classes.
        image: shape (C, H, W) of an image.
        training_images: number of training images, for the estimates of ``make plan`` only.
    """

    name: str
    module: str
    label: str
    classes: int
    image: tuple[int, int, int]
    training_images: int = 50_000


def _load(module: str) -> list[RegisteredDataset]:
    literal = ROOM.literal(module)
    return [RegisteredDataset(name, module, **facts) for name, facts in literal.items()]


ROOM = Room("dataset", "data", "DATASETS")
DATASETS = Registry(ROOM, _load)

dataset = DATASETS.named
datasets = DATASETS.all
