"""CIFAR-10 and CIFAR-100 from a local copy or by torchvision's download."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image, UnidentifiedImageError
from pyarrow import ArrowException

from sbs.data.images import Dataset, ImageSet, make_dataset
from sbs.errors import SBSError

SPLITS = ("train", "test")


@dataclass(frozen=True)
class CifarFacts:
    """What a whole and unaltered copy must be.

    Attributes:
        classes: number of classes.
        label: column of the labels in the parquet layout.
        folder: folder of torchvision's layout.
        digest: :func:`sbs.data.images.content_digest`, or None where no copy was at hand to take
            it from; then counts, shapes and the images' own checksums are all that is checked.
    """

    classes: int
    label: str
    folder: str
    digest: str | None


CIFAR = {
    "cifar10": CifarFacts(10, "label", "cifar-10-batches-py", None),
    "cifar100": CifarFacts(
        100,
        "fine_label",
        "cifar-100-python",
        "c395424808cc46b34e35c56cf784528a689ce8bf5cd731f80c9ae8c3e777d33c",
    ),
}
IMAGES = {"train": 50_000, "test": 10_000}


def load_cifar(name: str, directory: Path | None, cache: Path) -> Dataset:
    """CIFAR images, checked.

    Args:
        name: ``cifar10`` or ``cifar100``.
        directory: folder with a local copy, in the Hugging Face parquet layout or torchvision's;
            None: download.
        cache: folder for the download.

    Raises:
        SBSError: a file is missing, truncated or altered, or a count is wrong; or no download.
    """
    facts = CIFAR[name]
    parquet = _parquet_files(name, directory) if directory is not None else None
    if parquet is not None:
        splits = {split: _read_parquet(parquet[split], facts) for split in SPLITS}
        source = parquet["train"].parent
    else:
        source = _torchvision_root(name, directory) if directory is not None else cache
        splits = _read_torchvision(name, source, download=directory is None)
    for split in SPLITS:
        _check_split(splits[split], split, facts, source)
    dataset = make_dataset(name, splits["train"], splits["test"], facts.classes)
    if facts.digest is not None and dataset.digest != facts.digest:
        raise SBSError(
            f"{source}: not the published {name}: images or labels were altered (content digest "
            f"{dataset.digest}); fetch the copy again"
        )
    return dataset


def _parquet_files(name: str, directory: Path) -> dict[str, Path] | None:
    """One file a split in the parquet layout, or None if there is no such layout."""
    for folder in (directory / name, directory, *sorted((directory / name).glob("*/"))):
        found = {split: sorted(folder.glob(f"{split}-*.parquet")) for split in SPLITS}
        if not any(found.values()):
            continue
        for split in SPLITS:
            if len(found[split]) != 1:
                raise SBSError(
                    f"{folder}: expected one {split}-*.parquet, found {len(found[split])}; "
                    f"copy the {split} split of {name} there"
                )
        return {split: found[split][0] for split in SPLITS}
    return None


def _read_parquet(path: Path, facts: CifarFacts) -> ImageSet:
    try:
        table = pq.read_table(path)
        labels = np.asarray(table[facts.label], dtype=np.int64)
        encoded = [row["bytes"] for row in table["img"].to_pylist()]
    except (ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise SBSError(
            f"{path}: truncated or altered parquet file ({error}); fetch it again"
        ) from error
    images = np.empty((len(encoded), 32, 32, 3), np.uint8)
    for row, content in enumerate(encoded):
        try:
            images[row] = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            raise SBSError(f"{path}: image {row} is damaged ({error}); fetch it again") from error
    return _image_set(images, labels)


def _torchvision_root(name: str, directory: Path) -> Path:
    folder = CIFAR[name].folder
    archive = "cifar-10-python.tar.gz" if name == "cifar10" else "cifar-100-python.tar.gz"
    for root in (directory, directory / name):
        if (root / folder).is_dir() or (root / archive).is_file():
            return root
    raise SBSError(
        f"{directory}: no {name} here: neither {{train,test}}-*.parquet (in it or in {name}/) nor "
        f"torchvision's {folder}/ or {archive}; correct data.directory or SBS_DATA_DIR, or unset "
        "both to download"
    )


def _read_torchvision(name: str, root: Path, *, download: bool) -> dict[str, ImageSet]:
    from torchvision.datasets import CIFAR10, CIFAR100

    kind = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    # An archive beside its absent folder is unpacked by the same call, after its checksum.
    unpack = download or not (root / CIFAR[name].folder).is_dir()
    splits = {}
    for split in SPLITS:
        try:
            source = kind(root=root, train=split == "train", download=unpack)
        except (RuntimeError, OSError, EOFError) as error:
            raise SBSError(
                f"{root}: cannot get {name} ({error}); fetch it again, or put a copy (torchvision's "
                "layout or the Hugging Face parquet files) into a folder and name that folder in "
                "data.directory or SBS_DATA_DIR"
            ) from error
        splits[split] = _image_set(source.data, np.asarray(source.targets, dtype=np.int64))
    return splits


def _image_set(images: np.ndarray, labels: np.ndarray) -> ImageSet:
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return ImageSet(pixels, torch.from_numpy(labels))


def _check_split(split: ImageSet, name: str, facts: CifarFacts, source: Path) -> None:
    expected = IMAGES[name]
    each = expected // facts.classes
    counts = torch.bincount(split.labels, minlength=facts.classes)
    if len(counts) != facts.classes:
        raise SBSError(
            f"{source}: the {name} split has {len(counts)} classes, expected {facts.classes}; "
            "is it another dataset? fetch it again"
        )
    if len(split.labels) != expected or not bool((counts == each).all()):
        raise SBSError(
            f"{source}: the {name} split has {len(split.labels)} images, {int(counts.min())} to "
            f"{int(counts.max())} a class; expected {expected}, {each} a class; fetch it again"
        )
