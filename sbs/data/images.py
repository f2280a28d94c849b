"""Datasets in memory and on disk: uint8 images, one verified file each."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sbs.errors import SBSError
from sbs.provenance.files import atomic_write

FORMAT = 1


@dataclass(frozen=True)
class ImageSet:
    """Images (N, C, H, W) in uint8 and labels (N,) in int64."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Dataset:
    """A dataset with its statistics.

    Attributes:
        name: its name.
        train: training images.
        test: test images.
        classes: number of classes.
        mean: mean of each channel over the training images, pixels in [0, 1].
        std: standard deviation of each channel likewise.
        digest: digest of the content, whatever the order of the images.
    """

    name: str
    train: ImageSet
    test: ImageSet
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str


def make_dataset(name: str, train: ImageSet, test: ImageSet, classes: int) -> Dataset:
    """A dataset from its images, with statistics and digest."""
    mean, std = channel_statistics(train.images)
    return Dataset(name, train, test, classes, mean, std, content_digest(train, test))


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, exactly, by counting pixel values."""
    means, deviations = [], []
    values = np.arange(256) / 255
    for channel in range(images.shape[1]):
        counts = np.bincount(images[:, channel].reshape(-1).numpy(), minlength=256)
        mean = float((counts * values).sum() / counts.sum())
        variance = float((counts * (values - mean) ** 2).sum() / counts.sum())
        means.append(mean)
        deviations.append(variance**0.5)
    return tuple(means), tuple(deviations)


def content_digest(*splits: ImageSet) -> str:
    """SHA-256 over the sorted digests of all images with their labels, split by split.

    Two copies of a dataset in different orders agree.
    """
    total = hashlib.sha256()
    for split in splits:
        pixels = split.images.flatten(1).numpy()
        rows = zip(pixels, split.labels.tolist(), strict=True)
        digests = sorted(
            hashlib.sha256(image.tobytes() + str(label).encode()).digest() for image, label in rows
        )
        total.update(b"".join(digests) + b"|")
    return total.hexdigest()


def save_dataset(dataset: Dataset, path: Path) -> None:
    """Write a dataset as one safetensors file, whole or not at all."""
    tensors = _tensors(dataset)
    facts = json.dumps(
        {
            "format": FORMAT,
            "name": dataset.name,
            "classes": dataset.classes,
            "mean": dataset.mean,
            "std": dataset.std,
            "digest": dataset.digest,
        }
    )
    metadata = {"facts": facts, "sha256": _stored_digest(facts, tensors)}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_dataset(path: Path) -> Dataset:
    """Read and verify a dataset that :func:`save_dataset` wrote.

    Raises:
        SBSError: the file is missing, truncated, altered, or not such a file.
    """
    path = Path(path)
    if not path.is_file():
        raise SBSError(f"{path}: no such dataset file; run `sbs fetch {path.stem} --output {path}`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        if metadata["sha256"] != _stored_digest(metadata["facts"], tensors):
            raise _damaged(path, "its checksum does not match")
        return _dataset(json.loads(metadata["facts"]), tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, str(error)) from error


def _tensors(dataset: Dataset) -> dict[str, Tensor]:
    return {
        "test_images": dataset.test.images.contiguous(),
        "test_labels": dataset.test.labels,
        "train_images": dataset.train.images.contiguous(),
        "train_labels": dataset.train.labels,
    }


def _dataset(facts: dict[str, Any], tensors: dict[str, Tensor]) -> Dataset:
    if facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']}, this version reads {FORMAT}")
    return Dataset(
        facts["name"],
        ImageSet(tensors["train_images"], tensors["train_labels"]),
        ImageSet(tensors["test_images"], tensors["test_labels"]),
        facts["classes"],
        tuple(facts["mean"]),
        tuple(facts["std"]),
        facts["digest"],
    )


def _stored_digest(facts: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 over all that a file holds: facts, and type, shape and bytes of each tensor."""
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        content = tensors[name]
        digest.update(f"|{name} {content.dtype} {tuple(content.shape)}|".encode())
        digest.update(content.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _damaged(path: Path, reason: str) -> SBSError:
    return SBSError(
        f"{path}: damaged dataset file ({reason}); delete it and run "
        f"`sbs fetch {path.stem} --output {path}` again"
    )
