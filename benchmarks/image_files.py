"""Image files decoded, cropped and normalised per second of one core: ours against torchvision's.

Needs ``imagenet-sample`` in the folder of ``SBS_DATA_DIR``. Its images have a short side of 256
pixels. Those of ImageNet have 469 x 387 pixels on average, so the sample is measured once more,
enlarged to a short side of 387.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from sbs.data import imagenet
from sbs.data.augmentation import Augmentation
from sbs.data.feeding import train_batches

NAME, IMAGES, BATCH = "imagenet-sample", 300, 50
SAMPLE_SIDE, AVERAGE_SIDE = 256, 387
QUALITY = 90


def measure(repeats: int) -> dict[str, dict[str, float]]:
    """Images per second of both loaders, by size of the images; empty without the images."""
    named = os.environ.get("SBS_DATA_DIR")
    if not named or not (Path(named) / NAME).is_dir():
        return {}
    with tempfile.TemporaryDirectory() as enlarged:
        _enlarge(Path(named) / NAME, Path(enlarged) / NAME)
        folders = {SAMPLE_SIDE: Path(named), AVERAGE_SIDE: Path(enlarged)}
        return {f"side {side}": _rates(folder, repeats) for side, folder in folders.items()}


def _enlarge(source: Path, target: Path) -> None:
    for path in source.rglob("*.*"):
        with Image.open(path) as image:
            factor = AVERAGE_SIDE / min(image.size)
            size = (round(image.width * factor), round(image.height * factor))
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            image.convert("RGB").resize(size).save(copy, quality=QUALITY)


def _rates(folder: Path, repeats: int) -> dict[str, float]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sources = {"ours": _ours(folder), "torchvision": _torchvision(folder)}
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
