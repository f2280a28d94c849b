"""What batches offer, wherever their images come from."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol, Self

from torch import Tensor


class TrainingBatches(ABC):
    """Augmented training batches.

    Attributes:
        images: number of training images.
        batch_size: images per batch; the last batch of an epoch can be smaller.
    """

    def __init__(self, images: int, batch_size: int) -> None:
        self.images, self.batch_size = images, batch_size
        self._chosen: Tensor | None = None

    def part(self, chosen: Tensor) -> Self:
        """Batches of only the images with these indices (M,)."""
        part = copy.copy(self)
        part.images, part._chosen = len(chosen), chosen
        return part

    def first_images(self) -> Tensor:
        """The first batch of images (B, C, H, W), for instance to fit intervals on."""
        return next(self.epoch(0))[0]

    def __len__(self) -> int:
        """Number of batches per epoch."""
        return -(-self.images // self.batch_size)

    @abstractmethod
    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every image once: float32 normalised (B, C, H, W), and labels (B,) int64."""

    def _numbers(self, order: Tensor) -> Tensor:
        """Numbers of the images in an order of this part."""
        return order if self._chosen is None else self._chosen[order]


class EvaluationBatches(Protocol):
    """Test images in order."""

    def __len__(self) -> int:
        """Number of batches."""
        ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images (B, C, H, W) as normalised float32, and labels (B,) as int64."""
        ...
