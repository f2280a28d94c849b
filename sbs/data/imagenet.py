"""ImageNet (ILSVRC 2012) as a folder of image files, and a small sample of it.

The folder is the usual one: ``train/`` and ``val/``, each with a folder per class that has the name
of its WordNet synset (ImageFolder of torchvision and timm). Classes are numbered in the order of
these names, as in torchvision's weights. The dataset file lists the images; they stay where they
are, and are read and decoded when they are needed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from sbs.data.image_files import FileSet, Names
from sbs.data.images import Dataset
from sbs.errors import SBSError

DATASETS = {
    "imagenet": {
        "label": "ImageNet",
        "classes": 1000,
        "image": (3, 224, 224),
        "training_images": 1281167,
    },
    "imagenet-sample": {
        "label": "one image of each class of ImageNet",
        "classes": 1000,
        "image": (3, 224, 224),
        "training_images": 1000,
    },
}

SPLITS = {"imagenet": ("train", "val"), "imagenet-sample": (".", ".")}
"""Folders of the training and of the test images; the sample has one set for both."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""The statistics that torchvision's weights were trained with."""

SUFFIXES = (".jpeg", ".jpg", ".png")
"""Endings of image files, in any case; other files are not images and do not count."""


def load(name: str, directory: Path | None, cache: Path) -> Dataset:
    """List the images below ``directory / name``, or below ``directory`` itself.

    The digest covers the names, sizes and classes of the files, not their content: reading 150 GB
    would take hours. A damaged image is an error that names it, once it is read.

    Args:
        name: one of :data:`DATASETS`.
        directory: folder with the images; there is no public download.
        cache: not used.

    Raises:
        SBSError: there is no such folder, or its classes are not those of ImageNet.
    """
    if directory is None:
        raise SBSError(
            f"{name}: cannot be downloaded without an account at image-net.org; name the folder "
            "that contains it in SBS_DATA_DIR or with --directory"
        )
    root = (directory / name if (directory / name).is_dir() else directory).resolve()
    side = DATASETS[name]["image"][2]  # type: ignore[index]
    train, test = (_listed(root, split, side) for split in SPLITS[name])
    return Dataset(name, train, test, len(_synsets()), MEAN, STD, _digest(train, test))


def _listed(root: Path, split: str, side: int) -> FileSet:
    folder = root / split
    if not folder.is_dir():
        raise SBSError(f"{folder}: no such folder; it must contain a folder for each class")
    synsets = _synsets()
    found = {entry.name for entry in os.scandir(folder) if entry.is_dir()}
    for names, what in (
        (sorted(found - set(synsets)), "is no class of ImageNet; remove it"),
        (sorted(set(synsets) - found), "is a class of ImageNet, but its folder is missing"),
    ):
        if names:
            raise SBSError(f"{folder}: {names[0]} {what} ({len(names)} in all)")
    names, labels = [], []
    for label, synset in enumerate(synsets):
        images = list(_images(folder / synset))
        if not images:
            raise SBSError(f"{folder / synset}: no image; each class needs at least one")
        names += [str(Path(split, synset, image)) for image in images]
        labels += [label] * len(images)
    return FileSet(root, Names.of(names), torch.arange(len(names)), torch.tensor(labels), side)


def _images(folder: Path) -> Iterator[str]:
    names = (entry.name for entry in os.scandir(folder))
    yield from sorted(name for name in names if name.lower().endswith(SUFFIXES))


def _digest(*splits: FileSet) -> str:
    total = hashlib.sha256()
    for files in splits:
        for index, label in enumerate(files.labels.tolist()):
            path = files.path(index)
            total.update(f"{path.relative_to(files.root)} {path.stat().st_size} {label}\n".encode())
        total.update(b"|")
    return total.hexdigest()


def _synsets() -> list[str]:
    """Names of the 1,000 classes, in their order."""
    return Path(__file__).with_name("imagenet_synsets.txt").read_text().split()
