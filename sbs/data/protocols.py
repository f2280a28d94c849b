"""What batches offer, wherever their images come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor


class TrainingBatches(Protocol):
    """Augmented training batches.

    Attributes:
        images: number of training images.
        batch_size: images per batch; the last batch of an epoch can be smaller.
    """

    images: int
    batch_size: int

    def part(self, chosen: Tensor) -> TrainingBatches:
        """Batches of only the images with these indices (M,)."""
        ...

    def first_images(self) -> Tensor:
        """The first batch of images (B, C, H, W), for instance to fit intervals on."""
        ...

    def __len__(self) -> int:
        """Number of batches per epoch."""
        ...

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every image once: float32 normalised (B, C, H, W), and labels (B,) int64."""
        ...


class EvaluationBatches(Protocol):
    """Test images in order."""

    def __len__(self) -> int:
        """Number of batches."""
        ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images (B, C, H, W) as normalised float32, and labels (B,) as int64."""
        ...
