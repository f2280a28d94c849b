"""CIFAR from every layout of its files: it is what was published, and damage is named.

The tests of error paths use made-up images. With ``SBS_DATA_DIR`` set to a folder that holds
CIFAR-100, the real one is read and checked too.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torchvision.datasets
from PIL import Image

from sbs.data.cifar import CIFAR, IMAGES, CifarFacts, _decoded, load
from sbs.data.dataset_files import load_dataset
from sbs.data.fetch import fetch
from sbs.data.images import Dataset, ImageSet, content_digest, make_dataset
from sbs.errors import SBSError

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


# Parquet files


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


# torchvision's files and its download


def write_torchvision(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Folder and archive in torchvision's layout, which torchvision is told to expect."""
    kind = torchvision.datasets.CIFAR100
    folder, archive = root / kind.base_folder, root / kind.filename
    folder.mkdir(parents=True)
    for split in COUNTS:
        images = made_up_split(split)
        content = {"data": images.images.flatten(1).numpy(), "fine_labels": images.labels.tolist()}
        (folder / split).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": list("abcd")}))
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, kind.base_folder)

    def md5(path: Path) -> str:
        return hashlib.md5(path.read_bytes()).hexdigest()

    monkeypatch.setattr(kind, "train_list", [["train", md5(folder / "train")]])
    monkeypatch.setattr(kind, "test_list", [["test", md5(folder / "test")]])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(folder / "meta")})
    monkeypatch.setattr(kind, "tgz_md5", md5(archive))
    return folder, archive


class QuietHandler(SimpleHTTPRequestHandler):
    """A web server without a log."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def remove(folder: Path) -> None:
    """Remove a folder and the files in it."""
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


@pytest.mark.usefixtures("tiny_cifar")
@pytest.mark.parametrize("below", ["", "cifar100"])
@pytest.mark.parametrize("layout", ["folder", "archive"])
def test_torchvision_layouts_equal_parquet(
    layout: str, below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, cache = tmp_path / "copy", tmp_path / "cache"
    folder, archive = write_torchvision(copy / below, monkeypatch)
    archive.unlink() if layout == "folder" else remove(folder)
    before = sorted(copy.rglob("*"))
    dataset = load("cifar100", copy, cache)
    assert sorted(copy.rglob("*")) == before, "a local copy is only read"
    write_parquet(tmp_path / "parquet")
    assert_equal(dataset, load("cifar100", tmp_path / "parquet", cache))


@pytest.mark.usefixtures("tiny_cifar")
@pytest.mark.parametrize("file", ["train", "test", "meta"])
def test_altered_or_missing_torchvision_file_is_named(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_torchvision(tmp_path, monkeypatch)[0] / file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SBSError, match=rf"{path}: missing, truncated or altered; fetch"):
        load("cifar100", tmp_path, tmp_path / "cache")
    path.unlink()
    with pytest.raises(SBSError, match=rf"{path}: missing, truncated or altered; fetch"):
        load("cifar100", tmp_path, tmp_path / "cache")


@pytest.mark.usefixtures("tiny_cifar")
def test_altered_archive_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, archive = write_torchvision(tmp_path, monkeypatch)
    remove(folder)
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(SBSError, match=rf"{archive}: truncated or altered; fetch it again"):
        load("cifar100", tmp_path, tmp_path / "cache")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a web server on this computer that gives the files in ``server/``."""
    monkeypatch.setenv("no_proxy", "*")
    handler = partial(QuietHandler, directory=str(tmp_path / "server"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.mark.usefixtures("tiny_cifar")
def test_download(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, archive = write_torchvision(tmp_path / "server", monkeypatch)
    remove(folder)
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "url", f"{server}/{archive.name}")
    dataset = load("cifar100", None, tmp_path / "cache")
    assert torch.equal(dataset.test.images, made_up_split("test").images)


@pytest.mark.usefixtures("tiny_cifar")
def test_broken_download_is_named_and_mended(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, archive = write_torchvision(tmp_path / "server", monkeypatch)
    remove(folder)
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-100])
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "url", f"{server}/{archive.name}")
    with pytest.raises(SBSError, match=r"cannot get cifar100 .*corrupted.*try again"):
        load("cifar100", None, tmp_path / "cache")
    archive.write_bytes(whole)
    load("cifar100", None, tmp_path / "cache")


def test_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    # The discard port: nothing answers there, with or without a network.
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "url", "http://127.0.0.1:9/cifar.tar.gz")
    with pytest.raises(SBSError, match=r"cannot get cifar100 .*data\.directory or SBS_DATA_DIR"):
        load("cifar100", None, tmp_path / "cache")


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
