"""Training batches from anybody's data loader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from sbs.errors import SBSError
from sbs.runtime.seeding import derive_seed, seed_everything
from sbs.training.batch import Batch, mapped


class LoaderBatches:
    """Batches of a loader on the device, epoch by epoch.

    A loader that draws from PyTorch's global generator, as a shuffling ``DataLoader`` does, gives
    the same batches in a repeated or resumed run: the generator is seeded before each epoch.
    """

    def __init__(self, loader: Iterable[Batch], device: torch.device, seed: int) -> None:
        """Check the loader.

        Args:
            loader: gives batches, whenever it is iterated.
            device: device of the batches.
            seed: seed of the first batch; the training seeds each epoch.

        Raises:
            SBSError: it can be iterated only once, or gives no batch.
        """
        check_repeatable(loader, "train_loader")
        self._loader, self._device, self._seed = loader, device, seed
        if not len(self):
            raise SBSError("train_loader: gives no batch")

    def __len__(self) -> int:
        """Number of batches per epoch."""
        return self._count

    @cached_property
    def _count(self) -> int:
        try:
            return len(self._loader)  # type: ignore[arg-type]
        except TypeError:  # of a stream, the length is not known before
            return sum(1 for _ in self._loader)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch.

        Raises:
            SBSError: they are more or fewer than in the first epoch.
        """
        sampler = getattr(self._loader, "sampler", None)
        set_epoch = getattr(sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
        given = 0
        for given, batch in enumerate(self._loader, 1):
            if given > len(self):
                break
            yield self._placed(batch)
        if given != len(self):
            raise SBSError(
                f"train_loader: gives another number of batches than the {len(self)} that it said; "
                "every epoch must have as many"
            )

    def first_batch(self) -> Batch:
        """The first batch of the seed, for instance to fit intervals on."""
        seed_everything(derive_seed(self._seed, "first batch"))
        return self._placed(next(iter(self._loader)))

    def _placed(self, batch: Batch) -> Batch:
        return mapped(batch, lambda tensor: placed(tensor, self._device))


def check_repeatable(loader: object, argument: str) -> None:
    """Check that a loader gives its batches more than once.

    Args:
        loader: the loader.
        argument: its name.

    Raises:
        SBSError: it is an iterator.
    """
    if isinstance(loader, Iterator):
        raise SBSError(
            f"{argument}: an iterator can be read only once; give a DataLoader, a list of "
            "batches, or anything else that can be iterated again"
        )


def placed(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on the device; images (N, C, H, W) in the memory format of the kernels."""
    tensor = tensor.to(device, non_blocking=True)
    if tensor.dim() == 4 and tensor.is_floating_point():
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor
