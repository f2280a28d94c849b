"""Datasets of image files: listing, decoding, crops, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from sbs.data import imagenet
from sbs.data.augmentation import Augmentation
from sbs.data.dataset_files import load_dataset, save_dataset
from sbs.data.feeding import eval_batches, train_batches
from sbs.data.file_batches import EvalViews, TrainViews
from sbs.data.image_files import FileSet, Names
from sbs.data.images import Dataset
from sbs.errors import SBSError
from sbs.runtime.seeding import derive_seed
from tests.pictures import SIZES, SYNSETS, save, save_tree

CPU = torch.device("cpu")
AUGMENTATION = Augmentation(0, True, 0.08)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of three classes: 12 training and 6 test images."""
    monkeypatch.setattr(imagenet, "_synsets", lambda: list(SYNSETS))
    save_tree(tmp_path / "imagenet")
    (tmp_path / "imagenet" / "train" / SYNSETS[0] / "notes.txt").write_text("not an image")
    return tmp_path


def listed(folder: Path) -> Dataset:
    return imagenet.load("imagenet", folder, folder)


def training(dataset: Dataset, batch_size: int = 5, seed: int = 3) -> list[tuple[Tensor, Tensor]]:
    batches = train_batches(
        dataset,
        batch_size=batch_size,
        augmentation=AUGMENTATION,
        seed=seed,
        device=CPU,
        channels_last=True,
    )
    return [batch for epoch in (0, 1) for batch in batches.epoch(epoch)]


def test_classes_are_numbered_in_the_order_of_their_names(folder: Path) -> None:
    dataset = listed(folder)
    assert isinstance(dataset.train, FileSet)
    assert dataset.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert dataset.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert {dataset.train.path(index).parent.name for index in range(4)} == {"n01"}
    assert (dataset.classes, dataset.image) == (3, (3, 224, 224))


def test_the_digest_is_of_names_sizes_and_classes(folder: Path) -> None:
    before = listed(folder).digest
    assert before == listed(folder / "imagenet").digest
    first = next((folder / "imagenet" / "val" / "n02").iterdir())
    content = first.read_bytes()
    first.write_bytes(content + b"\0")
    assert listed(folder).digest != before
    first.write_bytes(content)
    first.rename(first.with_name("other.JPEG"))
    assert listed(folder).digest != before


def test_a_dataset_file_lists_the_images_where_they_are(folder: Path) -> None:
    dataset = listed(folder)
    save_dataset(dataset, folder / "imagenet.safetensors")
    loaded = load_dataset(folder / "imagenet.safetensors")
    assert isinstance(dataset.train, FileSet)
    assert isinstance(loaded.train, FileSet)
    assert [loaded.train.path(index) for index in range(12)] == [
        dataset.train.path(index) for index in range(12)
    ]
    assert (loaded.digest, loaded.mean, loaded.image) == (
        dataset.digest,
        dataset.mean,
        dataset.image,
    )


def test_names_are_packed_and_unpacked() -> None:
    texts = ["a/b.JPEG", "ä/π.png", "c"]
    names = Names.of(texts)
    assert [names[number] for number in range(len(names))] == texts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "train" / "n04").mkdir(), "n04 is no class of ImageNet; remove it"),
        (lambda root: (root / "val" / "n02").rename(root / "n02"), "n02 is a class of ImageNet, b"),
        (lambda root: (root / "val").rename(root / "test"), "val: no such folder; it must contain"),
        (lambda root: [p.unlink() for p in (root / "val" / "n03").iterdir()], "n03: no image; eac"),
    ],
)
def test_a_folder_of_other_classes_is_refused(folder: Path, change: object, message: str) -> None:
    change(folder / "imagenet")  # type: ignore[operator]
    with pytest.raises(SBSError, match=message):
        listed(folder)


def test_imagenet_is_not_downloaded(tmp_path: Path) -> None:
    with pytest.raises(SBSError, match=r"imagenet: cannot be downloaded .* SBS_DATA_DIR or with"):
        imagenet.load("imagenet", None, tmp_path)


def test_the_known_classes_are_sorted_and_distinct() -> None:
    synsets = imagenet._synsets()
    assert synsets == sorted(set(synsets))
    assert (len(synsets), synsets[0], synsets[-1]) == (1000, "n01440764", "n15075141")


# --- views


def pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image))


@pytest.mark.parametrize(
    ("smallest_crop", "crop"),
    [
        (0.08, [transforms.RandomResizedCrop(224)]),
        (None, [transforms.Resize((256, 256)), transforms.RandomCrop(224)]),
    ],
)
def test_a_training_view_is_torchvisions_crop_and_flip(
    folder: Path, smallest_crop: float | None, crop: list[nn.Module]
) -> None:
    files = listed(folder).train
    assert isinstance(files, FileSet)
    augmentation = Augmentation(0, True, smallest_crop)
    views = TrainViews(files, torch.arange(12), augmentation, seed=5, epoch=2)
    known = transforms.Compose([*crop, transforms.RandomHorizontalFlip()])
    for index in range(12):
        view = views[index]
        assert not isinstance(view, SBSError)
        torch.manual_seed(derive_seed(5, "view", 2, index))
        assert torch.equal(view[0], pixels(known(files.read(index))))


def test_a_test_view_is_torchvisions_resize_and_centre_crop(folder: Path) -> None:
    files = listed(folder).test
    assert isinstance(files, FileSet)
    known = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    for index in range(6):
        view = EvalViews(files)[index]
        assert not isinstance(view, SBSError)
        assert torch.equal(view[0], pixels(known(files.read(index))))


def test_views_leave_the_generator_of_the_training_alone(folder: Path) -> None:
    state = torch.get_rng_state()
    training(listed(folder))
    assert torch.equal(state, torch.get_rng_state())


# --- batches


def test_an_epoch_has_every_image_once_in_a_new_order(folder: Path) -> None:
    batches = training(listed(folder))
    assert [len(labels) for _, labels in batches] == [5, 5, 2] * 2
    for epoch in (batches[:3], batches[3:]):
        assert torch.cat([labels for _, labels in epoch]).bincount().tolist() == [4, 4, 4]
    first, second = (torch.cat([x for x, _ in epoch]) for epoch in (batches[:3], batches[3:]))
    assert first.shape == (12, 3, 224, 224)
    assert not torch.equal(first, second)
    assert first.is_contiguous(memory_format=torch.channels_last)


def test_pixels_are_normalised(folder: Path) -> None:
    dataset = listed(folder)
    assert isinstance(dataset.test, FileSet)
    images, labels = next(iter(eval_batches(dataset, device=CPU)))
    view = EvalViews(dataset.test)[0]
    assert not isinstance(view, SBSError)
    known = transforms.Normalize(imagenet.MEAN, imagenet.STD)(view[0].permute(2, 0, 1) / 255)
    torch.testing.assert_close(images[0], known)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_workers_change_nothing(folder: Path) -> None:
    dataset, found = listed(folder), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(training(dataset))
    for (images, labels), (others, other_labels) in zip(*found, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, other_labels)


def test_a_part_has_only_its_images(folder: Path) -> None:
    dataset = listed(folder)
    batches = train_batches(
        dataset,
        batch_size=2,
        augmentation=AUGMENTATION,
        seed=0,
        device=CPU,
        channels_last=False,
    )
    part = batches.part(torch.tensor([0, 4, 8]))
    assert (part.images, len(part), len(batches)) == (3, 2, 6)
    assert sorted(torch.cat([labels for _, labels in part.epoch(0)]).tolist()) == [0, 1, 2]


def test_images_can_be_held_out(folder: Path) -> None:
    dataset = listed(folder).holding_out(3)
    assert sorted(dataset.test.labels.tolist()) == [0, 1, 2]
    assert len(dataset.train.labels) == 9
    assert isinstance(dataset.train, FileSet)
    assert isinstance(dataset.test, FileSet)
    paths = {dataset.train.path(i) for i in range(9)} | {dataset.test.path(i) for i in range(3)}
    assert len(paths) == 12


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_images_become_rgb(folder: Path, mode: str) -> None:
    path = next((folder / "imagenet" / "val" / "n01").iterdir())
    save(path, 0, mode)
    files = listed(folder).test
    assert isinstance(files, FileSet)
    index = next(i for i in range(2) if files.path(i) == path)
    assert (files.read(index).mode, files.read(index).size) == ("RGB", SIZES[0])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_damaged_image_is_named(folder: Path, damage: str, threads: int) -> None:
    dataset = listed(folder)
    assert isinstance(dataset.train, FileSet)
    path = dataset.train.path(7)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:300] if damage == "cut" else b"")
    torch.set_num_threads(threads)
    with pytest.raises(
        SBSError, match=rf"{path.name}: cannot read the image \(.*\); copy the file"
    ):
        training(dataset)


def test_the_augmentation_must_suit_files(folder: Path) -> None:
    with pytest.raises(SBSError, match=r"crop_padding: images of imagenet are not padded; set 0"):
        train_batches(
            listed(folder),
            batch_size=2,
            augmentation=Augmentation(4, True),
            seed=0,
            device=CPU,
            channels_last=True,
        )


def test_the_augmentation_must_suit_images_in_memory(digits_file: Path) -> None:
    with pytest.raises(SBSError, match="smallest_crop: digits is cropped by crop_padding"):
        train_batches(
            load_dataset(digits_file),
            batch_size=2,
            augmentation=Augmentation(1, False, 0.5),
            seed=0,
            device=CPU,
            channels_last=True,
        )
