"""CIFAR in torchvision's files, and its download: the same images, and damage is named."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
import torchvision.datasets

from sbs.data.cifar import load
from sbs.errors import SBSError
from tests.cifar_files import COUNTS, assert_equal, made_up_split, tiny_cifar, write_parquet

__all__ = ["tiny_cifar"]


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
