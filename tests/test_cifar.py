"""CIFAR from parquet files in any layout: it is what was published, and damage is named.

The tests of error paths use made-up images. With ``SBS_DATA_DIR`` set to a folder that holds
CIFAR-100, the real one is read and checked too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sbs.data.cifar import CIFAR, IMAGES, CifarFacts, _decoded, load
from sbs.data.dataset_files import load_dataset
from sbs.data.fetch import fetch
from sbs.data.images import content_digest, make_dataset
from sbs.errors import SBSError
from tests.cifar_files import (
    CLASSES,
    COUNTS,
    assert_equal,
    columns_of,
    made_up_split,
    png,
    tiny_cifar,
    write_parquet,
)

__all__ = ["tiny_cifar"]


@pytest.mark.usefixtures("tiny_cifar")
@pytest.mark.parametrize("folder", ["cifar100", "", "cifar100/cifar100", "fine_label=1"])
def test_parquet_layouts(folder: str, tmp_path: Path) -> None:
    write_parquet(tmp_path / folder)
    directory = tmp_path / folder if "=" in folder else tmp_path
    dataset = load("cifar100", directory, tmp_path / "cache")
    expected = make_dataset("cifar100", made_up_split("train"), made_up_split("test"), CLASSES)
    assert_equal(dataset, expected)
    assert not (tmp_path / "cache").exists()


def test_cifar10_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CIFAR, "cifar10", CifarFacts(CLASSES, "label", None))
    changed = {}
    for split, count in COUNTS.items():
        monkeypatch.setitem(IMAGES, split, count)
        columns = columns_of(split)
        changed[split] = {"img": columns["img"], "label": columns["fine_label"]}
    write_parquet(tmp_path / "cifar10" / "plain_text", **changed)
    dataset = load("cifar10", tmp_path, tmp_path / "cache")
    assert torch.equal(dataset.train.images, made_up_split("train").images)


def with_image(content: bytes | None) -> dict[str, list[Any]]:
    """Test columns with another third image."""
    columns = columns_of("test")
    columns["img"][2] = {"bytes": content, "path": None}
    return columns


def with_labels(labels: list[Any]) -> dict[str, list[Any]]:
    """Test columns with other labels."""
    return {**columns_of("test"), "fine_label": labels}


def flipped_bit() -> bytes:
    """A PNG with one bit of its content altered."""
    content = bytearray(columns_of("test")["img"][2]["bytes"])
    content[len(content) // 2] ^= 1
    return bytes(content)


def without(columns: dict[str, list[Any]], name: str) -> dict[str, list[Any]]:
    """Columns less one."""
    return {key: value for key, value in columns.items() if key != name}


DAMAGE: dict[str, tuple[Callable[[], dict[str, list[Any]]], str]] = {
    "truncated image": (lambda: with_image(flipped_bit()[:200]), "image 2 is damaged"),
    "altered image": (lambda: with_image(flipped_bit()), "image 2 is damaged"),
    "no image": (lambda: with_image(None), "image 2 is damaged"),
    "not an image": (lambda: with_image(b"GIF?"), "image 2 is damaged"),
    "small image": (
        lambda: with_image(png(np.zeros((32, 1, 3), np.uint8))),
        r"image 2 is damaged \(shape \(32, 1, 3\), expected \(32, 32, 3\)\)",
    ),
    "grey image": (lambda: with_image(png(np.zeros((32, 32), np.uint8))), "image 2 is damaged"),
    "bare bytes": (lambda: {**columns_of("test"), "img": [b"?"] * 8}, "image 0 is damaged"),
    "no image column": (lambda: without(columns_of("test"), "img"), "no column img"),
    "no label column": (lambda: without(columns_of("test"), "fine_label"), "no column fine_label"),
    "label missing": (
        lambda: with_labels([None, 1, 2, 3, 0, 1, 2, 3]),
        "must contain only integers",
    ),
    "label not whole": (lambda: with_labels([0.5] * 8), "must contain only integers"),
    "too few classes": (lambda: with_labels([0, 1, 2, 0, 0, 1, 2, 1]), "3 classes, expected 4"),
    "too many classes": (lambda: with_labels([0, 1, 2, 3, 0, 1, 2, 4]), "5 classes, expected 4"),
    "negative label": (lambda: with_labels([-1, 1, 2, 3, -1, 1, 2, 3]), r"expected 4 \(0 to 3\)"),
    "uneven classes": (
        lambda: with_labels([0, 1, 2, 3, 0, 1, 2, 2]),
        "8 images, 1 to 3 per class; expected 8, 2 per class",
    ),
    "too few images": (
        lambda: {name: column[:4] for name, column in columns_of("test").items()},
        "4 images, 1 to 1 per class; expected 8, 2 per class",
    ),
}


@pytest.mark.usefixtures("tiny_cifar")
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_parquet_content_is_named(damage: str, tmp_path: Path) -> None:
    columns, message = DAMAGE[damage]
    write_parquet(tmp_path, test=columns())
    with pytest.raises(SBSError, match=message) as caught:
        load("cifar100", tmp_path, tmp_path / "cache")
    assert "test-00000-of-00001.parquet" in str(caught.value)
    assert "fetch" in str(caught.value) or "put" in str(caught.value)


def test_no_flipped_bit_of_a_png_alters_pixels_unnoticed() -> None:
    # Smooth pixels, as in a photograph: Pillow's decoder alone lets some of these flips through.
    pixels = np.linspace(0, 255, 32 * 32 * 3).astype(np.uint8).reshape(32, 32, 3)
    content = png(pixels)
    for place in range(8 * len(content)):
        altered = bytearray(content)
        altered[place // 8] ^= 1 << place % 8
        with suppress(OSError, SyntaxError, ValueError):
            assert np.array_equal(_decoded(bytes(altered)), pixels)


@pytest.mark.usefixtures("tiny_cifar")
def test_truncated_parquet_is_named(tmp_path: Path) -> None:
    write_parquet(tmp_path)
    path = tmp_path / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(SBSError, match=r"train-.*truncated or altered.*fetch it again"):
        load("cifar100", tmp_path, tmp_path / "cache")


@pytest.mark.usefixtures("tiny_cifar")
@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_or_doubled_split_is_named(split: str, tmp_path: Path) -> None:
    write_parquet(tmp_path)
    path = tmp_path / f"{split}-00000-of-00001.parquet"
    path.with_name(f"{split}-00000-of-00002.parquet").write_bytes(path.read_bytes())
    with pytest.raises(SBSError, match=rf"expected one {split}-\*.parquet, found 2"):
        load("cifar100", tmp_path, tmp_path / "cache")
    for file in tmp_path.glob(f"{split}-*"):
        file.unlink()
    with pytest.raises(SBSError, match=rf"expected one {split}-\*.parquet, found 0; copy"):
        load("cifar100", tmp_path, tmp_path / "cache")


@pytest.mark.usefixtures("tiny_cifar")
def test_altered_pixel_in_an_intact_image_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = content_digest(made_up_split("train"), made_up_split("test"))
    monkeypatch.setitem(CIFAR, "cifar100", CifarFacts(CLASSES, "fine_label", digest))
    write_parquet(tmp_path)
    load("cifar100", tmp_path, tmp_path / "cache")
    pixels = made_up_split("test").images[2].permute(1, 2, 0).numpy().copy()
    pixels[3, 3, 0] ^= 1
    write_parquet(tmp_path, test=with_image(png(pixels)))
    with pytest.raises(SBSError, match="not the published cifar100"):
        load("cifar100", tmp_path, tmp_path / "cache")


def test_folder_without_a_copy_is_named(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SBSError, match=rf"{directory}: no cifar10 here.*SBS_DATA_DIR"):
            load("cifar10", directory, tmp_path / "cache")


@pytest.mark.usefixtures("tiny_cifar")
def test_fetch_takes_the_folder_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "copy")
    monkeypatch.setenv("SBS_DATA_DIR", str(tmp_path / "copy"))
    path = tmp_path / "cifar100.safetensors"
    assert_equal(fetch("cifar100", path), load_dataset(path))
    with pytest.raises(SBSError, match="no cifar100 here"):
        fetch("cifar100", path, tmp_path / "the argument wins")


# The real CIFAR-100


@pytest.mark.skipif("SBS_DATA_DIR" not in os.environ, reason="needs CIFAR-100 in SBS_DATA_DIR")
def test_real_cifar100(tmp_path: Path) -> None:
    path = tmp_path / "cifar100.safetensors"
    # Counts, classes and content digest are checked by fetch itself.
    assert_equal(fetch("cifar100", path), load_dataset(path))
    dataset = load_dataset(path)
    assert dataset.digest == CIFAR["cifar100"].digest
    assert dataset.train.images.shape == (50_000, 3, 32, 32)
    assert torch.bincount(dataset.train.labels).tolist() == [500] * 100
    assert torch.bincount(dataset.test.labels).tolist() == [100] * 100
    assert dataset.mean == pytest.approx((0.50707516, 0.48654887, 0.44091784), abs=5e-9)
    assert dataset.std == pytest.approx((0.26733429, 0.25643846, 0.27615047), abs=5e-9)
