"""Batches of a dataset, whether its images are in memory or in files."""

from __future__ import annotations

import torch

from sbs.data.augmentation import Augmentation
from sbs.data.batches import EvalBatches, TrainBatches
from sbs.data.file_batches import FileEvalBatches, FileTrainBatches
from sbs.data.image_files import FileSet
from sbs.data.images import Dataset
from sbs.data.interface import EvaluationBatches, TrainingBatches
from sbs.data.normalization import normalization_of
from sbs.errors import SBSError


def train_batches(
    dataset: Dataset,
    *,
    batch_size: int,
    augmentation: Augmentation,
    seed: int,
    device: torch.device,
    channels_last: bool,
) -> TrainingBatches:
    """Augmented training batches.

    Args:
        dataset: the dataset. Files are decoded by as many processes as this one has threads.
        batch_size: images per batch; the last batch of an epoch can be smaller.
        augmentation: random crop and flip.
        seed: seed of the run.
        device: device of the batches.
        channels_last: memory format of the batches.

    Raises:
        SBSError: the augmentation is not one for these images.
    """
    _check(augmentation, dataset)
    if not isinstance(dataset.train, FileSet):
        return TrainBatches(
            dataset,
            batch_size=batch_size,
            augmentation=augmentation,
            seed=seed,
            device=device,
            channels_last=channels_last,
        )
    return FileTrainBatches(
        dataset.train,
        normalization_of(dataset, device, channels_last=channels_last),
        batch_size=batch_size,
        augmentation=augmentation,
        seed=seed,
        device=device,
        workers=_workers(),
    )


def eval_batches(
    dataset: Dataset, *, device: torch.device, channels_last: bool = True
) -> EvaluationBatches:
    """Test images in order; arguments as for :func:`train_batches`."""
    if not isinstance(dataset.test, FileSet):
        return EvalBatches(dataset, device=device, channels_last=channels_last)
    normalize = normalization_of(dataset, device, channels_last=channels_last)
    return FileEvalBatches(dataset.test, normalize, device=device, workers=_workers())


def _check(augmentation: Augmentation, dataset: Dataset) -> None:
    files = isinstance(dataset.train, FileSet)
    if files and augmentation.crop_padding:
        raise SBSError(f"data.crop_padding: images of {dataset.name} are not padded; set 0")
    if not files and augmentation.smallest_crop is not None:
        raise SBSError(f"data.smallest_crop: {dataset.name} is cropped by crop_padding; set null")


def _workers() -> int:
    threads = torch.get_num_threads()
    return threads if threads > 1 else 0
