"""Dataset files: what is read is what was saved, and damage is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sbs.data.dataset_files import load_dataset, save_dataset
from sbs.data.digits import load
from sbs.data.fetch import fetch
from sbs.data.images import Dataset, ImageSet, channel_statistics, content_digest, make_dataset
from sbs.errors import SBSError
from sbs.registry.datasets import dataset
from sbs.runtime import tensor_files


@pytest.fixture
def small() -> Dataset:
    """A dataset of a few bytes, so that each of them can be damaged."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (6, 2, 3, 3), generator=generator, dtype=torch.uint8)
    train, test = ImageSet(pixels[:4], torch.arange(4)), ImageSet(pixels[4:], torch.arange(2))
    return make_dataset("small", train, test, classes=4)


# Digits


def test_digits_are_scikit_learns() -> None:
    digits = load("digits", None, Path())
    labels = torch.cat([digits.train.labels, digits.test.labels])
    assert torch.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert len(labels) == 1797
    assert len(digits.test.labels) == 450
    assert digits.classes == 10
    assert digits.train.images.shape[1:] == (1, 8, 8)
    assert digits.train.images.dtype == torch.uint8
    assert int(digits.train.images.min()) == 0
    assert int(digits.train.images.max()) == 255


def test_digits_split_is_stratified_and_never_changes() -> None:
    digits = load("digits", None, Path())
    share = torch.bincount(digits.test.labels) / 450
    assert ((share - 0.1).abs() < 0.005).all()
    # Pinned: results on another split would not compare.
    assert digits.digest == ("682164383be225cab9f93f4fd81c73faac7882a42d7c592b98c9e1e2504d75f5")


# One file a dataset


def assert_equal(one: Dataset, other: Dataset) -> None:
    """Equal in every field."""
    for mine, theirs in ((one.train, other.train), (one.test, other.test)):
        assert mine.images.dtype == theirs.images.dtype
        assert mine.labels.dtype == theirs.labels.dtype
        assert torch.equal(mine.images, theirs.images)
        assert torch.equal(mine.labels, theirs.labels)
    names = ("name", "classes", "mean", "std", "digest")
    assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]


def test_save_and_load_round_trip(tmp_path: Path) -> None:
    digits = load("digits", None, Path())
    path = tmp_path / "new folder" / "digits.safetensors"
    save_dataset(digits, path)
    assert_equal(load_dataset(path), digits)
    assert list(path.parent.iterdir()) == [path]


def test_images_in_any_memory_format_are_saved(small: Dataset, tmp_path: Path) -> None:
    strided = small.train.images.contiguous(memory_format=torch.channels_last)
    train = ImageSet(strided, small.train.labels)
    save_dataset(make_dataset("small", train, small.test, 4), tmp_path / "small.safetensors")
    assert_equal(load_dataset(tmp_path / "small.safetensors"), small)


def test_an_interrupted_save_leaves_the_old_file(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.safetensors"
    save_dataset(small, path)

    def interrupted(_: Any, target: Path, **__: Any) -> None:
        Path(target).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(tensor_files, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_dataset(load("digits", None, Path()), path)
    assert_equal(load_dataset(path), small)
    assert list(tmp_path.iterdir()) == [path]


def assert_named(path: Path) -> None:
    """Loading fails with the file and what to do about it."""
    with pytest.raises(SBSError) as caught:
        load_dataset(path)
    assert str(path) in str(caught.value)
    assert "sbs fetch small" in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert_named(tmp_path / "small.safetensors")


def test_every_truncation_is_noticed(small: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    save_dataset(small, path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert_named(path)


def test_every_flipped_bit_is_noticed(small: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    save_dataset(small, path)
    content = path.read_bytes()
    for place in range(len(content)):
        altered = bytearray(content)
        altered[place] ^= 1 << place % 8
        path.write_bytes(altered)
        assert_named(path)


@pytest.mark.parametrize(("old", "new"), [(b"[4,2,3,3]", b"[4,2,1,9]"), (b'"U8"', b'"I8"')])
def test_altered_shape_or_type_is_noticed(
    small: Dataset, tmp_path: Path, old: bytes, new: bytes
) -> None:
    path = tmp_path / "small.safetensors"
    save_dataset(small, path)
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    assert_named(path)


def test_another_safetensors_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    assert_named(path)


def test_content_digest_knows_no_order(small: Dataset) -> None:
    order = torch.tensor([2, 0, 3, 1])
    shuffled = ImageSet(small.train.images[order], small.train.labels[order])
    assert content_digest(shuffled, small.test) == small.digest


def test_content_digest_knows_everything_else(small: Dataset) -> None:
    train, test = small.train, small.test
    pixels, labels = train.images.clone(), train.labels.clone()
    pixels[1, 0, 2, 2] ^= 1
    labels[0], labels[1] = train.labels[1], train.labels[0]
    fewer = ImageSet(train.images[:3], train.labels[:3])
    moved = ImageSet(
        torch.cat([test.images, train.images[3:]]), torch.cat([test.labels, train.labels[3:]])
    )
    others = {
        content_digest(ImageSet(pixels, train.labels), test),
        content_digest(ImageSet(train.images, labels), test),
        content_digest(test, train),
        content_digest(fewer, test),
        content_digest(fewer, moved),
        small.digest,
    }
    assert len(others) == 6


def test_channel_statistics(small: Dataset) -> None:
    values = small.train.images.double() / 255
    mean, std = channel_statistics(small.train.images)
    assert mean == pytest.approx(values.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert std == pytest.approx(values.std((0, 2, 3), correction=0).tolist(), abs=1e-12)


# Fetching


def test_fetch_writes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "digits.safetensors"
    assert_equal(fetch("digits", path), load_dataset(path))


def test_unknown_dataset_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(
        SBSError, match="unknown dataset 'mnist'; known are cifar10, cifar100, digits"
    ):
        fetch("mnist", tmp_path / "mnist.safetensors")


@pytest.mark.parametrize("count", [1, 10, 57, 200])
def test_held_out_images_are_training_images_of_all_classes(digits_file: Path, count: int) -> None:
    whole = load_dataset(digits_file)
    held = whole.holding_out(count)
    assert len(held.test.labels) == count
    assert len(held.train.labels) == len(whole.train.labels) - count
    by_class = held.test.labels.bincount(minlength=10)
    assert int(by_class.max() - by_class.min()) <= 1
    both = torch.cat([held.train.images, held.test.images]).flatten(1)
    order = sorted(map(tuple, both.tolist()))
    assert order == sorted(map(tuple, whole.train.images.flatten(1).tolist()))
    assert (held.digest, held.mean) == (whole.digest, whole.mean)
    assert held.test.images.equal(whole.holding_out(count).test.images)


def test_no_images_held_out_is_the_dataset_itself(digits_file: Path) -> None:
    whole = load_dataset(digits_file)
    assert whole.holding_out(0) is whole
    with pytest.raises(SBSError, match=r"data\.held_out: 99999 of \d+ training images of digits"):
        whole.holding_out(99999)


def test_the_registered_number_of_training_images_is_that_of_the_file(digits_file: Path) -> None:
    assert dataset("digits").training_images == len(load_dataset(digits_file).train.labels)
