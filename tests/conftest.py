"""What several tests share: real digits, small settings, and the way to the optional data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from sbs.config.scale import Scale, load_scale
from sbs.data.dataset_files import load_dataset, save_dataset
from sbs.data.images import ImageSet, make_dataset
from sbs.runtime.allocator import keep_freed_memory
from tests.devices import default_device

# No time limit for an example: a busy machine is no failure.
settings.register_profile("sbs", deadline=None)
settings.load_profile("sbs")

# As every command does. Without it, networks here take a fifth longer.
keep_freed_memory()

ROOT = Path(__file__).resolve().parents[1]
SCALES = sorted(p for p in (ROOT / "config").glob("*.yaml") if p.name != "claims.yaml")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first: at the end, one worker would wait for the other's."""
    items.sort(key=lambda item: item.get_closest_marker("end_to_end") is None)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _device(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.node.get_closest_marker("device") is None:
        yield
        return
    with default_device():
        yield


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real digits as the file that training reads."""
    from sbs.data.fetch import fetch

    path = tmp_path_factory.mktemp("data") / "digits.safetensors"
    fetch("digits", path)
    return path


@pytest.fixture(scope="session")
def few_digits(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the real digits, for tests of what does not depend on their number.

    167 training images, so that the last batch of an epoch is smaller and odd, and 100 test images.
    """
    whole = load_dataset(digits_file)
    train, test = (
        ImageSet(part.images[:size].clone(), part.labels[:size].clone())
        for part, size in ((whole.train, 167), (whole.test, 100))
    )
    path = tmp_path_factory.mktemp("data") / "few-digits.safetensors"
    save_dataset(make_dataset(whole.name, train, test, whole.classes), path)
    return path


@pytest.fixture(scope="session")
def default_scale() -> Scale:
    """The default scale."""
    return load_scale(ROOT / "config" / "config.yaml")


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """Folder of public checkpoints, or a skip."""
    folder = os.environ.get("SBS_WEIGHTS_DIR")
    if not folder:
        pytest.skip("SBS_WEIGHTS_DIR names no folder with public checkpoints")
    return Path(folder)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with a local copy of CIFAR-100, or a skip."""
    folder = os.environ.get("SBS_DATA_DIR")
    if not folder or not (Path(folder) / "cifar100").is_dir():
        pytest.skip("SBS_DATA_DIR names no folder with CIFAR-100")
    return Path(folder)
