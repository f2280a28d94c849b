"""Made-up files of CIFAR, small enough for tests of layouts and of damage."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from sbs.data.cifar import CIFAR, IMAGES, CifarFacts
from sbs.data.images import Dataset, ImageSet

CLASSES = 4
COUNTS = {"train": 16, "test": 8}


def made_up_split(split: str) -> ImageSet:
    """Random images, the same number of each class."""
    generator = torch.Generator().manual_seed(len(split))
    shape = (COUNTS[split], 3, 32, 32)
    pixels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(COUNTS[split]) % CLASSES)


def assert_equal(one: Dataset, other: Dataset) -> None:
    """Same images and labels, in the same order."""
    for mine, theirs in ((one.train, other.train), (one.test, other.test)):
        assert torch.equal(mine.images, theirs.images)
        assert torch.equal(mine.labels, theirs.labels)
    assert one.digest == other.digest


@pytest.fixture
def tiny_cifar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let CIFAR-100 have 4 classes, 16 training and 8 test images, and no known digest."""
    monkeypatch.setitem(CIFAR, "cifar100", CifarFacts(CLASSES, "fine_label", None))
    for split, count in COUNTS.items():
        monkeypatch.setitem(IMAGES, split, count)


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    """A PNG of pixels (H, W, 3) or (H, W)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def columns_of(split: str) -> dict[str, list[Any]]:
    """Columns of the Hugging Face layout, for the made-up images."""
    images = made_up_split(split)
    encoded = [png(image.permute(1, 2, 0).numpy()) for image in images.images]
    return {
        "img": [{"bytes": content, "path": None} for content in encoded],
        "fine_label": images.labels.tolist(),
        "coarse_label": [0] * COUNTS[split],
    }


def write_parquet(folder: Path, **changed: dict[str, list[Any]]) -> None:
    """Both splits, with other columns where a test gives some."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in COUNTS:
        table = pa.table(changed.get(split, columns_of(split)))
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
