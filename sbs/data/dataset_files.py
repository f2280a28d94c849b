"""Dataset files: each dataset is one verified file, with its images or with a list of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sbs.data.image_files import FileSet, Names
from sbs.data.images import Dataset, ImageSet
from sbs.errors import SBSError
from sbs.runtime.tensor_files import read_tensors, save_tensors

FORMAT = 1


def save_dataset(dataset: Dataset, path: Path) -> None:
    """Write a dataset as one file with a checksum, atomically."""
    facts = {
        "format": FORMAT,
        "name": dataset.name,
        "classes": dataset.classes,
        "mean": dataset.mean,
        "std": dataset.std,
        "digest": dataset.digest,
    }
    if isinstance(dataset.train, FileSet):
        facts |= {"root": str(dataset.train.root), "side": dataset.train.side}
    save_tensors(_tensors(dataset), path, facts)


def load_dataset(path: Path) -> Dataset:
    """Read and verify a dataset that :func:`save_dataset` wrote.

    Raises:
        SBSError: the file is missing, truncated, changed, or of another kind.
    """
    path = Path(path)
    command = f"`sbs fetch {path.stem} --output {path}`"
    if not path.is_file():
        raise SBSError(f"{path}: no such dataset file; run {command}")
    remedy = f"delete it and run {command} again"
    facts, tensors = read_tensors(path, "dataset file", remedy)
    try:
        return _dataset(facts, tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise SBSError(f"{path}: not a dataset file ({error}); {remedy}") from error


def _tensors(dataset: Dataset) -> dict[str, Tensor]:
    tensors = {}
    for split, images in (("train", dataset.train), ("test", dataset.test)):
        tensors[f"{split}_labels"] = images.labels
        if isinstance(images, ImageSet):
            tensors[f"{split}_images"] = images.images
        else:
            tensors[f"{split}_names"] = images.names.text
            tensors[f"{split}_ends"] = images.names.ends
            if images.spans is not None:
                tensors[f"{split}_spans"] = images.spans
    return tensors


def _dataset(facts: dict[str, Any], tensors: dict[str, Tensor]) -> Dataset:
    if facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']}, but this version reads format {FORMAT}")
    return Dataset(
        facts["name"],
        _split("train", facts, tensors),
        _split("test", facts, tensors),
        facts["classes"],
        tuple(facts["mean"]),
        tuple(facts["std"]),
        facts["digest"],
    )


def _split(split: str, facts: dict[str, Any], tensors: dict[str, Tensor]) -> ImageSet | FileSet:
    labels = tensors[f"{split}_labels"]
    if "root" not in facts:
        return ImageSet(tensors[f"{split}_images"], labels)
    names = Names(tensors[f"{split}_names"], tensors[f"{split}_ends"])
    spans = tensors.get(f"{split}_spans")
    return FileSet(
        Path(facts["root"]), names, torch.arange(len(labels)), labels, facts["side"], spans
    )
