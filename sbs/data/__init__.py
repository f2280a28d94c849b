"""Datasets, and the batches that training and evaluation read."""

from sbs.data.batches import Augmentation, EvalBatches, TrainBatches
from sbs.data.images import Dataset, ImageSet, load_dataset, save_dataset

__all__ = [
    "Augmentation",
    "Dataset",
    "EvalBatches",
    "ImageSet",
    "TrainBatches",
    "load_dataset",
    "save_dataset",
]
