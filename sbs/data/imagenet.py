"""ImageNet (ILSVRC 2012) as a folder of image files or of shards, and a small sample of it.

The folder has ``train/`` and ``val/``. Each has a folder per class with the name of its WordNet
synset (ImageFolder of torchvision and timm), or tar files (WebDataset). Classes are numbered in the
order of these names, as in torchvision's weights. The dataset file lists the images; they stay
where they are, and are read and decoded when they are needed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import torch

from sbs.data.image_files import IN, FileSet, Names
from sbs.data.images import Dataset
from sbs.data.shards import images_of, shards_of
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
        SBSError: there is no such folder, its classes are not those of ImageNet, or a tar file is
            damaged.
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
    if folder.is_dir() and (shards := shards_of(folder)):
        return _from_shards(root, shards, side)
    if not _has_folders(folder) and (packed := _parquet_files(root, split)):
        raise SBSError(
            f"{packed[0]}: single images cannot be read from a parquet file; write tar files once, "
            f"with 'sbs unpack {packed[0].parent}/{split}*.parquet --output {folder}'"
        )
    if not folder.is_dir():
        raise SBSError(
            f"{folder}: no such folder; it must contain a folder for each class, or tar files"
        )
    return _from_folders(root, split, side)


def _has_folders(folder: Path) -> bool:
    return folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir())


def _parquet_files(root: Path, split: str) -> list[Path]:
    places = (root / split, root / "data", root)
    return [file for place in places for file in sorted(place.glob(f"{split}*.parquet"))]


def _from_folders(root: Path, split: str, side: int) -> FileSet:
    folder, synsets = root / split, _synsets()
    found = {entry.name for entry in os.scandir(folder) if entry.is_dir()}
    if unknown := sorted(found - set(synsets)):
        raise SBSError(f"{folder}: {unknown[0]} is no class of ImageNet; remove it {_all(unknown)}")
    if missing := [synset for synset in synsets if synset not in found]:
        raise SBSError(
            f"{folder}: {missing[0]} is a class of ImageNet, but its folder is missing "
            f"{_all(missing)}"
        )
    names, labels = [], []
    for label, synset in enumerate(synsets):
        images = list(_images(folder / synset))
        if not images:
            raise SBSError(f"{folder / synset}: no image; each class needs at least one")
        names += [str(Path(split, synset, image)) for image in images]
        labels += [label] * len(images)
    return FileSet(root, Names.of(names), torch.arange(len(names)), torch.tensor(labels), side)


def _from_shards(root: Path, shards: list[Path], side: int) -> FileSet:
    """In the order of classes and names, so that shards and folders give the same runs."""
    classes = {synset: label for label, synset in enumerate(_synsets())}
    images = [image for shard in shards for image in images_of(shard, classes, SUFFIXES)]
    present = {image.label for image in images}
    if missing := [synset for synset, label in classes.items() if label not in present]:
        raise SBSError(
            f"{shards[0].parent}: no image of {missing[0]} in {len(shards)} tar files "
            f"{_all(missing)}; copy the others"
        )
    images.sort(key=lambda image: (image.label, PurePosixPath(image.member).name))
    names = [f"{image.shard.relative_to(root)}{IN}{image.member}" for image in images]
    labels = torch.tensor([image.label for image in images])
    spans = torch.tensor([(image.start, image.size) for image in images])
    return FileSet(root, Names.of(names), torch.arange(len(names)), labels, side, spans)


def _all(names: list[str]) -> str:
    return f"({len(names)} in all)"


def _images(folder: Path) -> Iterator[str]:
    names = (entry.name for entry in os.scandir(folder))
    yield from sorted(name for name in names if name.lower().endswith(SUFFIXES))


def _digest(*splits: FileSet) -> str:
    total = hashlib.sha256()
    for files in splits:
        for index, label in enumerate(files.labels.tolist()):
            name = files.path(index).relative_to(files.root)
            total.update(f"{name} {files.size(index)} {label}\n".encode())
        total.update(b"|")
    return total.hexdigest()


def _synsets() -> list[str]:
    """Names of the 1,000 classes, in their order."""
    return Path(__file__).with_name("imagenet_synsets.txt").read_text().split()
