"""Image files decoded, cropped and normalised per second of one core: ours against torchvision's.

Needs ``imagenet-sample`` in the folder of ``SBS_DATA_DIR``. Its images have a short side of 256
pixels, those of ImageNet are about twice as large, so rates on ImageNet are lower for both.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from sbs.data import imagenet
from sbs.data.augmentation import Augmentation
from sbs.data.feeding import train_batches

NAME, IMAGES, BATCH = "imagenet-sample", 300, 50


def measure(repeats: int) -> dict[str, float]:
    """Images per second of both, in turns and in this process; empty without the images."""
    folder = os.environ.get("SBS_DATA_DIR")
    if not folder or not (Path(folder) / NAME).is_dir():
        return {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sources = {"ours": _ours(Path(folder)), "torchvision": _torchvision(Path(folder))}
    rates: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(repeats):
        for name, run in sources.items():
            started = time.process_time()
            run()
            rates[name].append(IMAGES / (time.process_time() - started))
    torch.set_num_threads(threads)
    return {name: median(values) for name, values in rates.items()}


def _ours(folder: Path) -> Callable[[], object]:
    batches = train_batches(
        imagenet.load(NAME, folder, folder),
        batch_size=BATCH,
        augmentation=Augmentation(0, True, 0.08),
        seed=0,
        device=torch.device("cpu"),
        channels_last=True,
    ).part(torch.arange(IMAGES))
    return lambda: [len(labels) for _, labels in batches.epoch(0)]


def _torchvision(folder: Path) -> Callable[[], object]:
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(imagenet.MEAN, imagenet.STD),
        ]
    )
    source = Subset(datasets.ImageFolder(str(folder / NAME), transform), range(IMAGES))
    loader = DataLoader(source, batch_size=BATCH, shuffle=True)
    return lambda: [len(labels) for _, labels in loader]
