"""ImageNet in tar files: the images of folders, read where they lie."""

from __future__ import annotations

import errno
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from sbs.cli import app
from sbs.data import imagenet, unpacking
from sbs.data.augmentation import Augmentation
from sbs.data.dataset_files import load_dataset, save_dataset
from sbs.data.feeding import train_batches
from sbs.data.image_files import FileSet
from sbs.data.images import Dataset
from sbs.data.unpacking import unpack
from sbs.errors import SBSError
from tests.pictures import SYNSETS, save_tree

Entry = tuple[str, bytes]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(imagenet, "_synsets", lambda: list(SYNSETS))
    save_tree(tmp_path / "folders" / "imagenet")
    return tmp_path


def listed(folder: Path) -> Dataset:
    return imagenet.load("imagenet", folder, folder)


def write(path: Path, entries: list[Entry], mode: str = "w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def pictures(folder: Path, split: str) -> list[Path]:
    return sorted((folder / "folders" / "imagenet" / split).rglob("*.JPEG"))


def by_class_file(path: Path) -> list[Entry]:
    """As timm's and webdataset's tools write them: key, image, class and facts."""
    label = SYNSETS.index(path.parent.name)
    return [
        (f"{path.stem}.cls", str(label).encode()),
        (f"{path.stem}.jpg", path.read_bytes()),
        (f"{path.stem}.json", b'{"width": 1}'),
    ]


def by_folder(path: Path) -> list[Entry]:
    return [(f"./{path.parent.name}/{path.name}", path.read_bytes())]


def shard(folder: Path, entries: Callable[[Path], list[Entry]] = by_class_file) -> Path:
    """Two tar files a split, the pictures dealt out in turns."""
    root = folder / "shards" / "imagenet"
    for split in ("train", "val"):
        files = pictures(folder, split)
        for number in (0, 1):
            members = [entry for path in files[number::2] for entry in entries(path)]
            write(root / split / f"{split}-{number}.tar", members)
    return folder / "shards"


def training(dataset: Dataset) -> list[tuple[Tensor, Tensor]]:
    batches = train_batches(
        dataset,
        batch_size=5,
        augmentation=Augmentation(0, True, 0.08),
        seed=3,
        device=torch.device("cpu"),
        channels_last=True,
    )
    return list(batches.epoch(0))


@pytest.mark.parametrize("entries", [by_class_file, by_folder])
def test_shards_give_the_batches_of_folders(
    folder: Path, entries: Callable[[Path], list[Entry]]
) -> None:
    dataset = listed(shard(folder, entries))
    save_dataset(dataset, folder / "imagenet.safetensors")
    of_folders = training(listed(folder / "folders"))
    for of_shards in (training(dataset), training(load_dataset(folder / "imagenet.safetensors"))):
        for (images, labels), (others, other_labels) in zip(of_shards, of_folders, strict=True):
            assert torch.equal(images, others)
            assert torch.equal(labels, other_labels)


def in_parquet(path: Path, files: list[Path], **changes: Any) -> Path:
    """As the Hugging Face hub has them; ``changes`` are other columns, None for no column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    labels = [SYNSETS.index(file.parent.name) for file in files]
    columns = {"image": images, "label": labels} | changes
    pq.write_table(pa.table({name: one for name, one in columns.items() if one is not None}), path)
    return path


@pytest.mark.parametrize("named", [True, False])
def test_parquet_files_unpacked_give_the_batches_of_folders(
    folder: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.setattr(unpacking, "ROWS", 4)
    for split, hub in (("train", "train"), ("val", "validation")):
        files = pictures(folder, split)
        for number in (0, 1):
            own = files[number * 5 :] if number else files[:5]
            nameless = [{"bytes": file.read_bytes(), "path": None} for file in own]
            changes = {} if named else {"image": nameless}
            path = in_parquet(
                folder / "hub" / f"{hub}-{number:05d}-of-00002.parquet", own, **changes
            )
            words = ["unpack", str(path), "--output", str(folder / "tar" / "imagenet" / split)]
            for _ in range(2):  # the second time there is nothing left to do
                result = CliRunner().invoke(app, words)
                assert result.exit_code == 0, result.output
                assert result.output.strip().endswith(f"{path.stem}.tar")
    batches = training(listed(folder / "tar")), training(listed(folder / "folders"))
    for (images, labels), (others, other_labels) in zip(*batches, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, other_labels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": [-1] * 12}, r"row 0 has no class \(-1\).* take train and validation"),
        ({"label": None}, r"no column label"),
        ({"image": [None] * 12}, r"row 0 has no image"),
        ({"image": [{"bytes": b"GIF89a", "path": "a.gif"}] * 12}, r"neither JPEG nor PNG"),
    ],
)
def test_parquet_files_without_images_and_classes_are_refused(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    path = in_parquet(folder / "train.parquet", pictures(folder, "train"), **changes)
    with pytest.raises(SBSError, match=message):
        unpack(path, folder / "out")
    assert not list((folder / "out").glob("*"))


def test_a_damaged_parquet_file_is_named(folder: Path) -> None:
    path = in_parquet(folder / "train.parquet", pictures(folder, "train"))
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(SBSError, match=r"train\.parquet: truncated"):
        unpack(path, folder)


def test_parquet_files_in_place_of_images_are_answered_with_the_command(folder: Path) -> None:
    in_parquet(folder / "imagenet" / "data" / "train-0.parquet", pictures(folder, "train"))
    with pytest.raises(SBSError, match=r"sbs unpack .*/data/train\*\.parquet --output .*/train"):
        listed(folder)
    save_tree(folder / "imagenet")  # with the images in folders, nobody needs the parquet files
    assert isinstance(listed(folder).train, FileSet)


def test_a_full_disk_is_not_taken_for_a_damaged_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpacking, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(in_parquet(folder / "train.parquet", pictures(folder, "train")), folder / "out")
    assert not list((folder / "out").glob("*"))


def test_the_digest_is_of_names_sizes_and_classes(folder: Path) -> None:
    shards = shard(folder)
    before = listed(shards).digest
    assert listed(shards).digest == before
    path = pictures(folder, "val")[0]
    path.write_bytes(path.read_bytes() + b"\0")
    assert listed(shard(folder)).digest != before


def test_images_can_be_held_out(folder: Path) -> None:
    dataset = listed(shard(folder)).holding_out(3)
    assert isinstance(dataset.test, FileSet)
    known = listed(folder / "folders").holding_out(3)
    assert isinstance(known.test, FileSet)
    for index in range(3):
        assert dataset.test.read(index).tobytes() == known.test.read(index).tobytes()


def test_a_damaged_image_is_named(folder: Path) -> None:
    def cut(path: Path) -> list[Entry]:
        label, (name, content), facts = by_class_file(path)
        return [label, (name, content[:300] if path.stem == "n02_5" else content), facts]

    with pytest.raises(SBSError, match=r"n02_5\.jpg: cannot read the image"):
        training(listed(shard(folder, cut)))


IMAGE = ("n01_x.jpg", b"pixels")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("x.jpg", b""), ("x.cls", b"cat")], r"x\.cls contains 'cat'; it must be the number of a"),
        ([("x.jpg", b"")], r"x\.jpg has no class: neither a \.cls file nor a synset in its name"),
        ([("x.jpg", b""), ("x.cls", b"3")], r"x\.jpg is of class 3; there are 3, from 0"),
        ([IMAGE, ("n01_x.cls", b"2")], r"n01_x\.jpg is of class 2 by its \.cls file, but its name"),
        ([IMAGE, ("n01_x.png", b"")], r"n01_x\.jpg and n01_x\.png are images of one sample"),
        ([IMAGE], r"train: no image of n02 in 1 tar files \(2 in all\); copy the others"),
    ],
)
def test_shards_that_do_not_say_what_they_hold_are_refused(
    folder: Path, members: list[Entry], message: str
) -> None:
    write(folder / "shards" / "imagenet" / "train" / "a.tar", members)
    with pytest.raises(SBSError, match=message):
        listed(folder / "shards")


def test_a_compressed_shard_is_refused(folder: Path) -> None:
    train = folder / "shards" / "imagenet" / "train"
    write(train / "a.tar.gz", [IMAGE], "w:gz")
    with pytest.raises(SBSError, match=r"a\.tar\.gz: images in a compressed tar file cannot"):
        listed(folder / "shards")
    (train / "a.tar.gz").rename(train / "a.tar")
    with pytest.raises(SBSError, match=r"a\.tar: cannot read the tar file \(.*\); copy it again"):
        listed(folder / "shards")


def test_a_shard_that_is_cut_short_is_refused(folder: Path) -> None:
    shards = shard(folder)
    path = shards / "imagenet" / "val" / "val-1.tar"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(SBSError, match=r"val-1\.tar: "):
        listed(shards)
