"""CIFAR-10 and CIFAR-100, from a local copy or downloaded by torchvision."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
from PIL import Image
from pyarrow import ArrowException
from pyarrow.types import is_integer

from sbs.data.images import Dataset, ImageSet, make_dataset
from sbs.errors import SBSError

SPLITS = ("train", "test")
IMAGES = {"train": 50_000, "test": 10_000}
SIZE = 32


@dataclass(frozen=True)
class CifarFacts:
    """Facts that a complete and unchanged copy of a dataset agrees with.

    Attributes:
        classes: number of classes.
        label: column of the labels in the parquet layout.
        digest: :func:`sbs.data.images.content_digest`; None if no copy was available to compute
            it. Then a parquet copy is checked only by counts, shapes and the checksums of its
            images. torchvision's files have their own checksums.
    """

    classes: int
    label: str
    digest: str | None


DATASETS = {
    "cifar10": {"label": "CIFAR-10", "classes": 10, "image": (3, 32, 32)},
    "cifar100": {"label": "CIFAR-100", "classes": 100, "image": (3, 32, 32)},
}

CIFAR = {
    "cifar10": CifarFacts(10, "label", None),
    "cifar100": CifarFacts(
        100, "fine_label", "c395424808cc46b34e35c56cf784528a689ce8bf5cd731f80c9ae8c3e777d33c"
    ),
}


def load(name: str, directory: Path | None, cache: Path) -> Dataset:
    """Read and check the CIFAR images.

    Args:
        name: ``cifar10`` or ``cifar100``.
        directory: folder with a local copy (Hugging Face's parquet files or torchvision's layout);
            nothing is written there. None: download.
        cache: folder for the download, and for an unpacked local archive.

    Raises:
        SBSError: a file is missing, truncated or changed; a count is wrong; the download failed.
    """
    facts = CIFAR[name]
    files = _parquet_files(name, directory) if directory is not None else None
    if files is not None:
        splits = {split: _read_parquet(files[split], facts) for split in SPLITS}
    else:
        files, splits = _read_torchvision(name, directory, cache)
    for split in SPLITS:
        _check_split(splits[split], split, facts, files[split])
    dataset = make_dataset(name, splits["train"], splits["test"], facts.classes)
    if facts.digest is not None and dataset.digest != facts.digest:
        raise SBSError(
            f"{files['train']} and {files['test'].name}: not the published {name}: images or "
            f"labels were changed (content digest {dataset.digest}); fetch the copy again"
        )
    return dataset


def _parquet_files(name: str, directory: Path) -> dict[str, Path] | None:
    """The parquet file of each split, or None if the folder has no parquet files."""
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
        # Not read_table: it would read folder names such as label=3 as columns.
        with pq.ParquetFile(path) as file:
            missing = {"img", facts.label} - set(file.schema_arrow.names)
            table = file.read(["img", facts.label]) if not missing else None
    except (ArrowException, OSError) as error:
        raise SBSError(
            f"{path}: truncated or altered parquet file ({error}); fetch it again"
        ) from error
    if table is None:
        raise SBSError(
            f"{path}: no column {', '.join(sorted(missing))}; is it another dataset? put the "
            f"parquet files of the dataset with {facts.classes} classes there"
        )
    labels = table[facts.label]
    if labels.null_count or not is_integer(labels.type):
        raise SBSError(
            f"{path}: column {facts.label} must contain only integers; fetch the file again"
        )
    images = np.empty((len(table), SIZE, SIZE, 3), np.uint8)
    for number, row in enumerate(table["img"].to_pylist()):
        try:
            images[number] = _decoded(row["bytes"])
        # Pillow raises SyntaxError for a broken PNG; the last two errors mean a row without image.
        except (OSError, SyntaxError, ValueError, TypeError, KeyError) as error:
            raise SBSError(
                f"{path}: image {number} is damaged ({error}); fetch the file again"
            ) from error
    return _image_set(images, labels.to_numpy().astype(np.int64))


def _decoded(content: bytes) -> npt.NDArray[np.uint8]:
    """Pixels (H, W, 3) of an encoded image."""
    # Decoding skips some checksums of a PNG, so it can return changed pixels; verify checks all.
    with Image.open(io.BytesIO(content)) as image:
        image.verify()
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image)
    if pixels.shape != (SIZE, SIZE, 3):
        raise ValueError(f"shape {pixels.shape}, expected {(SIZE, SIZE, 3)}")
    return pixels


def _read_torchvision(
    name: str, directory: Path | None, cache: Path
) -> tuple[dict[str, Path], dict[str, ImageSet]]:
    """Source and images of each split, from files that pass torchvision's checksums."""
    from torchvision.datasets import CIFAR10, CIFAR100

    kind = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    try:
        root = cache if directory is None else _local_root(name, kind, directory, cache)
        loaded = {
            split: kind(root=root, train=split == "train", download=directory is None)
            for split in SPLITS
        }
    except (RuntimeError, OSError, EOFError, HTTPException, tarfile.TarError) as error:
        raise SBSError(
            f"{directory or cache}: cannot get {name} ({error}); try again, or put a copy "
            "(torchvision's layout or the Hugging Face parquet files) into a folder and set "
            "data.directory or SBS_DATA_DIR to it"
        ) from error
    files = dict.fromkeys(SPLITS, root / kind.base_folder)
    return files, {
        split: _image_set(source.data, np.asarray(source.targets, dtype=np.int64))
        for split, source in loaded.items()
    }


def _local_root(name: str, kind: Any, directory: Path, cache: Path) -> Path:
    """Folder that contains torchvision's folder, after checking every file; unpacks an archive."""
    from torchvision.datasets.utils import check_integrity, extract_archive

    for root in (directory, directory / name):
        folder, archive = root / kind.base_folder, root / kind.filename
        if folder.is_dir():
            files = [*kind.train_list, *kind.test_list, [kind.meta["filename"], kind.meta["md5"]]]
            for file, md5 in files:
                if not check_integrity(folder / file, md5):
                    raise SBSError(
                        f"{folder / file}: missing, truncated or altered; fetch it again"
                    )
            return root
        if archive.is_file():
            if not check_integrity(archive, kind.tgz_md5):
                raise SBSError(f"{archive}: truncated or altered; fetch it again")
            extract_archive(archive, cache)
            return cache
    raise SBSError(
        f"{directory}: no {name} here: neither {{train,test}}-*.parquet (in it or in {name}/) nor "
        f"torchvision's {kind.base_folder}/ or {kind.filename}; correct data.directory or "
        "SBS_DATA_DIR, or unset both to download"
    )


def _image_set(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> ImageSet:
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return ImageSet(pixels, torch.from_numpy(labels))


def _check_split(split: ImageSet, name: str, facts: CifarFacts, source: Path) -> None:
    values, counts = np.unique(split.labels.numpy(), return_counts=True)
    if values.tolist() != list(range(facts.classes)):
        raise SBSError(
            f"{source}: the {name} split has {len(values)} classes, expected {facts.classes} "
            f"(0 to {facts.classes - 1}); is it another dataset? fetch the right one"
        )
    expected = IMAGES[name]
    each = expected // facts.classes
    if not (counts == each).all():
        raise SBSError(
            f"{source}: the {name} split has {len(split.labels)} images, {counts.min()} to "
            f"{counts.max()} per class; expected {expected}, {each} per class; fetch it again"
        )
