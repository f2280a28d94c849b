"""Datasets in memory and on disk: uint8 images; each dataset is one verified file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sbs.config.settings import Normalization
from sbs.errors import SBSError
from sbs.runtime.tensor_files import read_tensors, save_tensors

FORMAT = 1

HELD_OUT_SEED = 0
"""Held-out images are the same in every run, so that all settings are compared on them."""


@dataclass(frozen=True)
class ImageSet:
    """Images (N, C, H, W) in uint8 and labels (N,) in int64."""

    images: Tensor
    labels: Tensor

    def part(self, chosen: Tensor) -> ImageSet:
        """The images with these indices (M,), in ascending order."""
        ascending = chosen.sort().values
        return ImageSet(self.images[ascending], self.labels[ascending])


@dataclass(frozen=True)
class Dataset:
    """A dataset with its statistics.

    Attributes:
        name: name of the dataset.
        train: training images.
        test: test images.
        classes: number of classes.
        mean: mean of each channel that batches subtract, for pixels in [0, 1]: that of the
            training images, or the one given to :meth:`normalized_by`.
        std: standard deviation of each channel that batches divide by, from the same source.
        digest: digest of the content; does not depend on the order of the images.
    """

    name: str
    train: ImageSet
    test: ImageSet
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str

    @property
    def normalization(self) -> Normalization:
        """Mean and standard deviation that batches normalise with."""
        return Normalization(mean=self.mean, std=self.std)

    def normalized_by(self, normalization: Normalization, source: str) -> Dataset:
        """The same images with another normalisation.

        Args:
            normalization: mean and standard deviation of each channel.
            source: where these values come from, for the error message.

        Raises:
            SBSError: the images have another number of channels.
        """
        given, channels = len(normalization.mean), self.train.images.shape[1]
        if given != channels:
            raise SBSError(f"{source}: {given} channels, but images of {self.name} have {channels}")
        return replace(self, mean=normalization.mean, std=normalization.std)

    def holding_out(self, images: int) -> Dataset:
        """The dataset with training images set aside, in place of the test images.

        The classes are as even as they can be. The choice is the same in every run. Statistics and
        digest stay those of the whole dataset.

        Args:
            images: how many; 0 changes nothing.

        Raises:
            SBSError: no training image would be left.
        """
        labels = self.train.labels
        if images >= len(labels):
            raise SBSError(
                f"data.held_out: {images} of {len(labels)} training images of {self.name}; "
                "leave some to train on"
            )
        if not images:
            return self
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(HELD_OUT_SEED))
        classes = F.one_hot(labels[order], self.classes)
        nth_of_class = classes.cumsum(0).gather(1, labels[order][:, None])[:, 0]
        by_turns = order[nth_of_class.argsort(stable=True)]
        train, test = self.train.part(by_turns[images:]), self.train.part(by_turns[:images])
        return replace(self, train=train, test=test)


def make_dataset(name: str, train: ImageSet, test: ImageSet, classes: int) -> Dataset:
    """Build a dataset from its images; compute statistics and digest."""
    mean, std = channel_statistics(train.images)
    return Dataset(name, train, test, classes, mean, std, content_digest(train, test))


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Exact mean and standard deviation of each channel, from the counts of pixel values."""
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
    """SHA-256 over the sorted digests of all images and their labels, split by split.

    Copies of a dataset with different orders of the images have the same digest.
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
    """Write a dataset as one file with a checksum, atomically."""
    facts = {
        "format": FORMAT,
        "name": dataset.name,
        "classes": dataset.classes,
        "mean": dataset.mean,
        "std": dataset.std,
        "digest": dataset.digest,
    }
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
    return {
        "test_images": dataset.test.images,
        "test_labels": dataset.test.labels,
        "train_images": dataset.train.images,
        "train_labels": dataset.train.labels,
    }


def _dataset(facts: dict[str, Any], tensors: dict[str, Tensor]) -> Dataset:
    if facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']}, but this version reads format {FORMAT}")
    return Dataset(
        facts["name"],
        ImageSet(tensors["train_images"], tensors["train_labels"]),
        ImageSet(tensors["test_images"], tensors["test_labels"]),
        facts["classes"],
        tuple(facts["mean"]),
        tuple(facts["std"]),
        facts["digest"],
    )
