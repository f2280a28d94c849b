"""Trees of made-up pictures, arranged like ImageNet with three classes."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

SYNSETS = ("n01", "n02", "n03")
SIZES = ((70, 50), (41, 90), (64, 64))


def save(path: Path, number: int, mode: str = "RGB") -> None:
    """A made-up picture with smooth colours."""
    width, height = SIZES[number % len(SIZES)]
    small = torch.randint(0, 256, (4, 4, 3), generator=torch.Generator().manual_seed(number))
    image = Image.fromarray(small.byte().numpy()).resize((width, height), Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert(mode).save(path)


def save_tree(root: Path) -> None:
    """``train/`` and ``val/`` with 12 and 6 pictures."""
    number = 0
    for split, count in (("train", 4), ("val", 2)):
        for synset in SYNSETS:
            for _ in range(count):
                save(root / split / synset / f"{synset}_{number}.JPEG", number)
                number += 1
