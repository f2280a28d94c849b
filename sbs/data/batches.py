"""Batches from images in memory: augmentation and normalisation in whole-batch operations.

Order, crops and flips of an epoch are a function of (seed, epoch) alone, drawn on the CPU, so
they are the same on every device and after every interruption.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sbs.data.images import Dataset, ImageSet
from sbs.seeding import derive_seed


@dataclass(frozen=True)
class Augmentation:
    """Random crop after padding with black pixels, and random horizontal flip."""

    crop_padding: int
    flip: bool


@dataclass(frozen=True)
class Draws:
    """Everything random in an epoch: order, crop offsets and flips of all images."""

    order: Tensor
    top: Tensor
    left: Tensor
    flipped: Tensor


def draw(images: int, augmentation: Augmentation, seed: int, epoch: int) -> Draws:
    """The random choices of one epoch.

    Args:
        images: number of training images.
        augmentation: ranges to draw from.
        seed: seed of the run.
        epoch: number of the epoch.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "augmentation", epoch))
    offsets = 2 * augmentation.crop_padding + 1
    order = torch.randperm(images, generator=generator)
    top = torch.randint(offsets, (images,), generator=generator)
    left = torch.randint(offsets, (images,), generator=generator)
    flipped = torch.rand(images, generator=generator) < (0.5 if augmentation.flip else 0.0)
    return Draws(order, top, left, flipped)


class TrainBatches:
    """Augmented training batches; images stay on the device as uint8."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
        device: torch.device,
        channels_last: bool = True,
    ) -> None:
        """Put the padded images on the device.

        Args:
            dataset: images and their statistics.
            batch_size: images a batch; the last one of an epoch may be smaller.
            augmentation: crop and flip.
            seed: seed of the run.
            device: where batches are made.
            channels_last: memory format of the batches.
        """
        self.images = len(dataset.train.labels)
        self.batch_size = batch_size
        self.augmentation, self.seed = augmentation, seed
        self._labels = dataset.train.labels.to(device)
        self._windows = _crop_windows(dataset.train, augmentation.crop_padding, device)
        self._table = _lookup_table(dataset, device)
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-self.images // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image once: images (B, C, H, W) normalised, and labels (B,)."""
        draws = draw(self.images, self.augmentation, self.seed, epoch)
        device = self._labels.device
        top, left, flipped = (
            t.to(device).split(self.batch_size) for t in (draws.top, draws.left, draws.flipped)
        )
        for number, chosen in enumerate(draws.order.to(device).split(self.batch_size)):
            crops = self._windows[chosen, top[number], left[number]]
            if self.augmentation.flip:
                crops = torch.where(flipped[number][:, None, None, None], crops.flip(3), crops)
            yield self._normalized(crops), self._labels[chosen]

    def _normalized(self, crops: Tensor) -> Tensor:
        return _normalize(crops, self._table).contiguous(memory_format=self._format)


class EvalBatches:
    """Test images in order, normalised."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        device: torch.device,
        batch_size: int = 500,
        channels_last: bool = True,
    ) -> None:
        self.batch_size = batch_size
        self._images = dataset.test.images.to(device)
        self._labels = dataset.test.labels.to(device)
        self._table = _lookup_table(dataset, device)
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self._labels) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (B, C, H, W) and labels (B,)."""
        for images, labels in zip(
            self._images.split(self.batch_size), self._labels.split(self.batch_size), strict=True
        ):
            normalized = _normalize(images, self._table)
            yield normalized.contiguous(memory_format=self._format), labels


def _crop_windows(images: ImageSet, padding: int, device: torch.device) -> Tensor:
    """View (N, offsets, offsets, C, H, W) of all crops of the padded images; takes no memory."""
    height, width = images.images.shape[-2:]
    padded = F.pad(images.images, [padding] * 4).to(device)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # N C top left H W
    return windows.permute(0, 2, 3, 1, 4, 5)


def _lookup_table(dataset: Dataset, device: torch.device) -> tuple[Tensor, Tensor]:
    """Scale and shift a channel that turn pixel values into normalised ones."""
    mean = torch.tensor(dataset.mean, dtype=torch.float64)
    std = torch.tensor(dataset.std, dtype=torch.float64)
    scale, shift = 1 / (255 * std), -mean / std
    return tuple(t.float().view(1, -1, 1, 1).to(device) for t in (scale, shift))  # type: ignore[return-value]


def _normalize(images: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    scale, shift = table
    return torch.addcmul(shift, images, scale)
