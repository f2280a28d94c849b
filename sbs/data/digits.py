"""The real 8x8 handwritten digits that scikit-learn includes (UCI, 1797 images)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits as sklearn_digits
from sklearn.model_selection import train_test_split

from sbs.data.images import Dataset, ImageSet, make_dataset

DATASETS = {
    "digits": {"label": "digits", "classes": 10, "image": (1, 8, 8), "training_images": 1347},
}

TEST_SHARE = 0.25
SPLIT_SEED = 0


def load(name: str, directory: Path | None, cache: Path) -> Dataset:
    """Digits as 1x8x8 images; a quarter of each class is the test set.

    The split is fixed, so that results are comparable. Pixel values 0 to 16 are scaled to 0 to 255.
    scikit-learn includes the images, so ``directory`` and ``cache`` are not used.
    """
    images, labels = sklearn_digits(return_X_y=True)
    pixels = np.rint(images * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    parts = train_test_split(
        pixels, labels, test_size=TEST_SHARE, random_state=SPLIT_SEED, stratify=labels
    )
    train_images, test_images, train_labels, test_labels = map(torch.from_numpy, parts)
    train = ImageSet(train_images, train_labels.long())
    test = ImageSet(test_images, test_labels.long())
    return make_dataset("digits", train, test, classes=10)
