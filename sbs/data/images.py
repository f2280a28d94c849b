"""Datasets: uint8 images in memory, or lists of image files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sbs.config.settings import Normalization
from sbs.data.image_files import FileSet
from sbs.errors import SBSError

HELD_OUT_SEED = 0
"""Held-out images are the same in every run, so that all settings are compared on them."""


@dataclass(frozen=True)
class ImageSet:
    """Images (N, C, H, W) in uint8 and labels (N,) in int64."""

    images: Tensor
    labels: Tensor

    @property
    def image(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

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
    train: ImageSet | FileSet
    test: ImageSet | FileSet
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str

    @property
    def image(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image."""
        return self.train.image

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
        given, channels = len(normalization.mean), self.image[0]
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
