"""What batches offer, wherever their images come from."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol, Self

from torch import Tensor

from sbs.errors import SBSError
from sbs.runtime import processes


class TrainingBatches(ABC):
    """Augmented training batches. Of each, every process of a job yields its own share.

    Attributes:
        images: number of training images, of all processes.
        batch_size: images per batch, of all processes; the last batch of an epoch can be smaller.
    """

    def __init__(self, images: int, batch_size: int) -> None:
        """Store the arguments.

        Raises:
            SBSError: the smallest batch has fewer images than there are processes.
        """
        self.images, self.batch_size = images, batch_size
        self._chosen: Tensor | None = None
        self._shared = True
        self._check()

    def part(self, chosen: Tensor) -> Self:
        """Batches of only the images with these indices (M,)."""
        part = copy.copy(self)
        part.images, part._chosen = len(chosen), chosen
        part._check()
        return part

    def first_batch(self) -> tuple[Tensor, Tensor]:
        """The first batch: images (B, C, H, W) and labels (B,), for instance to fit intervals on.

        It is the whole batch in every process.
        """
        whole = copy.copy(self)
        whole._shared = False
        return next(whole.epoch(0))

    def __len__(self) -> int:
        """Number of batches per epoch."""
        return -(-self.images // self.batch_size)

    @abstractmethod
    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every image once: float32 normalised (B, C, H, W), and labels (B,) int64."""

    def _numbers(self, order: Tensor) -> Tensor:
        """Numbers of the images in an order of this part."""
        return order if self._chosen is None else self._chosen[order]

    def _places(self) -> Iterator[slice]:
        """Places of each batch in the order of the epoch, of this process's share."""
        return batch_places(self.images, self.batch_size, shared=self._shared)

    def _check(self) -> None:
        smallest = self.images % self.batch_size or self.batch_size
        if self.images and smallest < processes.count():
            raise SBSError(
                f"batch_size: {self.batch_size} leaves {smallest} of {self.images} images for an "
                f"epoch's last batch, fewer than the {processes.count()} processes; change it, or "
                "resources.gpu"
            )


def batch_places(images: int, batch_size: int, *, shared: bool = True) -> Iterator[slice]:
    """Places of each batch of so many images; if ``shared``, of this process's share, if any."""
    for start in range(0, images, batch_size):
        stop = min(start + batch_size, images)
        places = processes.share(start, stop) if shared else slice(start, stop)
        if places.start < stop:
            yield places


class EvaluationBatches(Protocol):
    """Test images in order."""

    def __len__(self) -> int:
        """Number of batches."""
        ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images (B, C, H, W) as normalised float32, and labels (B,) as int64."""
        ...
