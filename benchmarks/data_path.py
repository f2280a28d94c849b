"""Images per second: our batches against torchvision's transforms in a DataLoader."""

from __future__ import annotations

import time
from collections.abc import Iterable
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from sbs.data.augmentation import Augmentation
from sbs.data.batches import TrainBatches
from sbs.data.images import ImageSet, make_dataset

IMAGES, BATCH = 10_000, 128
MEAN, STD = (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)


def measure(repeats: int) -> dict[str, float]:
    """Images per second of both, measured in turns; torchvision's use 2 workers, ours none.

    The images are noise: the time does not depend on their content.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (IMAGES, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(100, (IMAGES,), generator=generator)
    sources = {"ours": _ours(images, labels), "torchvision": _torchvision(images, labels)}
    rates: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(repeats):
        for name, batches in sources.items():
            started = time.perf_counter()
            seen = sum(len(batch) for batch, _ in batches)
            rates[name].append(seen / (time.perf_counter() - started))
    return {name: median(values) for name, values in rates.items()}


class _Epochs:
    def __init__(self, batches: TrainBatches) -> None:
        self.batches, self.number = batches, 0

    def __iter__(self) -> Iterable[tuple[Tensor, Tensor]]:  # type: ignore[override]
        self.number += 1
        return self.batches.epoch(self.number)


def _ours(images: Tensor, labels: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    dataset = make_dataset("noise", ImageSet(images, labels), ImageSet(images, labels), 100)
    cpu = torch.device("cpu")
    augmentation = Augmentation(crop_padding=4, flip=True)
    return _Epochs(  # type: ignore[return-value]
        TrainBatches(dataset, batch_size=BATCH, augmentation=augmentation, seed=0, device=cpu)
    )


def _torchvision(images: Tensor, labels: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    source = datasets.CIFAR100.__new__(datasets.CIFAR100)
    source.data = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
    source.targets = labels.tolist()
    source.transform, source.target_transform = transform, None
    return DataLoader(
        source, batch_size=BATCH, shuffle=True, num_workers=2, persistent_workers=True
    )
