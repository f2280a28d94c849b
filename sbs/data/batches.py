"""Batches from images in memory; augmentation and normalisation work on whole batches.

Order, crops and flips of an epoch depend only on (seed, epoch) and are drawn on the CPU. So they
are the same on every device and after every interruption.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sbs.data.augmentation import Augmentation
from sbs.data.images import Dataset, ImageSet
from sbs.data.interface import TrainingBatches, batch_places
from sbs.data.normalization import normalization_of
from sbs.runtime.seeding import derive_seed


@dataclass(frozen=True)
class Draws:
    """All random choices of an epoch: order, crop offsets and flips of all images."""

    order: Tensor
    top: Tensor
    left: Tensor
    flipped: Tensor


def draw(images: int, augmentation: Augmentation, seed: int, epoch: int) -> Draws:
    """Draw the random choices of one epoch.

    Args:
        images: number of training images.
        augmentation: crop and flip settings.
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


class TrainBatches(TrainingBatches):
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
            batch_size: images per batch; the last batch of an epoch can be smaller.
            augmentation: crop and flip.
            seed: seed of the run.
            device: device of the batches.
            channels_last: memory format of the batches.
        """
        assert isinstance(dataset.train, ImageSet)
        super().__init__(len(dataset.train.labels), batch_size)
        self.augmentation, self.seed = augmentation, seed
        self._labels = dataset.train.labels.to(device)
        self._crops = _Crops(dataset.train.images, augmentation.crop_padding, device)
        self._normalize = normalization_of(dataset, device, channels_last=channels_last)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every image once: float32 normalised (B, C, H, W), and labels (B,) int64."""
        drawn = draw(self.images, self.augmentation, self.seed, epoch)
        numbers = self._numbers(drawn.order)
        device = self._labels.device
        order, top, left, flipped = (
            part.to(device) for part in (numbers, drawn.top, drawn.left, drawn.flipped)
        )
        for batch in self._places():
            crops = self._crops.take(order[batch], top[batch], left[batch])
            if self.augmentation.flip:
                crops = _flip(crops, flipped[batch])
            yield self._normalize(crops), self._labels[order[batch]]


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
        """Put the images on the device.

        Args:
            dataset: images and their statistics.
            device: device of the batches.
            batch_size: images per batch; the last batch can be smaller.
            channels_last: memory format of the batches.
        """
        assert isinstance(dataset.test, ImageSet)
        self.batch_size = batch_size
        self._images = _pixels_first(dataset.test.images).to(device)
        self._labels = dataset.test.labels.to(device)
        self._normalize = normalization_of(dataset, device, channels_last=channels_last)

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self._labels) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images (B, C, H, W) as normalised float32, and labels (B,) as int64."""
        for batch in batch_places(len(self._labels), self.batch_size):
            yield self._normalize(self._images[batch]), self._labels[batch]


class _Crops:
    """Random crops, gathered as strips. A strip is one row of pixels of a crop.

    Memory order is (N, H, W, C), so a strip is one contiguous run of bytes. A batch of crops is one
    gather of strips, which is several times faster than a gather of single pixels.
    """

    def __init__(self, images: Tensor, padding: int, device: torch.device) -> None:
        channels, self.height, self.width = images.shape[1:]
        padded = _pixels_first(F.pad(images, [padding] * 4)).to(device)
        self.shape = (self.height, self.width, channels)
        self._rows, self._columns = padded.shape[1:3]
        strip = self.width * channels
        strips = (padded.numel() - strip) // channels + 1
        # One strip starts at each pixel. The strips overlap and need no memory of their own.
        self._strips = padded.view(-1).as_strided((strips, strip), (channels, 1))
        self._below = torch.arange(self.height, device=device) * self._columns

    def take(self, chosen: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """Crops (B, H, W, C) in uint8 of the chosen images (B,), at offsets (B,)."""
        corner = (chosen * self._rows + top) * self._columns + left
        starts = corner[:, None] + self._below
        return self._strips.index_select(0, starts.view(-1)).view(-1, *self.shape)


def _pixels_first(images: Tensor) -> Tensor:
    """Convert (N, C, H, W) to (N, H, W, C), in memory too."""
    return images.permute(0, 2, 3, 1).contiguous()


def _flip(crops: Tensor, flipped: Tensor) -> Tensor:
    """Mirror the crops (B, H, W, C) where ``flipped`` (B,) is true."""
    both = torch.cat([crops, crops.flip(2)])
    # Gather whole images instead of masking: the CPU then need not wait for the GPU.
    chosen = torch.arange(len(crops), device=crops.device) + len(crops) * flipped
    return both.flatten(1).index_select(0, chosen).view(crops.shape)
