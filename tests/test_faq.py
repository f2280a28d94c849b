"""The page of questions and errors quotes messages that are raised like that."""

from __future__ import annotations

import os
import re
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

import sbs
from sbs.config.scale import load_scale
from sbs.data.dataset_files import load_dataset
from sbs.data.fetch import fetch
from sbs.errors import SBSError
from sbs.kernels import build
from sbs.runtime.checkpoints import load_into
from tests.conftest import ROOT

QUOTED = re.findall(r"^```text\n(.*?)\n```$", (ROOT / "docs" / "faq.md").read_text(), re.M | re.S)
BATCHES = [(torch.zeros(8, 1, 8, 8), torch.zeros(8, dtype=torch.long))] * 10


class Net(nn.Module):
    """Three convolutions and a linear layer."""

    weight = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3)),
            *(nn.ReLU(), nn.Flatten(), nn.Linear(32, 10)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 1, 8, 8) to logits (N, 10)."""
        result: Tensor = self.body(x)
        return result


class Branching(Net):
    """Its forward pass depends on values."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(-x if x.sum() < 0 else x)


def compress(*, model: nn.Module | None = None, loader: Any = BATCHES, **options: Any) -> None:
    sbs.compress(model or Net(), loader, **({"epochs": 10, "verbose": False} | options))


def nan_loss(model: nn.Module, batch: Any) -> Tensor:
    return model(batch[0]).sum() * float("nan")


def weighted_loss(model: Any, batch: Any) -> Tensor:
    loss: Tensor = model.weight * model(batch[0]).sum()
    return loss


def front(**options: Any) -> sbs.compression.front.Front:
    return sbs.front(Net(), BATCHES, epochs=10, search_epochs=10, verbose=False, **options)


def cuda() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    compress(device="cuda")


def foreign_file() -> None:
    sbs.compress(Net(), BATCHES, epochs=0, search_epochs=10, verbose=False).save("network.sbs")
    sbs.load("network.sbs")


def scale(change: Callable[[dict[str, Any]], object]) -> None:
    content = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    change(content)
    Path("mine.yaml").write_text(yaml.safe_dump(content))
    load_scale(Path("mine.yaml"))


def other_weights() -> None:
    state = sbs.build_network("resnet20", 10).state_dict()
    load_into(sbs.build_network("resnet20", 100), state, "weights.safetensors")


def images_elsewhere() -> None:
    Path("images").mkdir()
    fetch("cifar100", Path("data/cifar100.safetensors"), Path("images"))


def imagenet_without_images() -> None:
    fetch("imagenet", Path("data/imagenet.safetensors"))


def no_compiler() -> None:
    def fail() -> None:
        raise RuntimeError("no compiler")

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patch.setattr(build, "_load", fail)
        build._built.__wrapped__()
    raise SBSError(str(caught[0].message).removesuffix(": no compiler"))


def old_python() -> None:
    """As `make environment` with such a Python says, in a folder without `.venv`."""
    Path("Makefile").write_text((ROOT / "Makefile").read_text())
    Path("config").mkdir()
    for name in ("requirements.lock", "pyproject.toml", "config/config.yaml"):
        Path(name).touch()
    command = ["make", "--silent", "environment", "PYTHON=false"]
    made = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    raise SBSError(made.stdout.strip())


RAISED: list[Callable[[], object]] = [
    lambda: compress(target=0.0001),
    lambda: compress(target="4 bit"),
    lambda: compress(epochs=2),
    lambda: compress(loader=iter(BATCHES)),
    lambda: compress(loader=[{"images": images} for images, _ in BATCHES]),
    lambda: compress(loss=weighted_loss),
    lambda: compress(model=Branching()),
    lambda: compress(model=nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 10))),
    lambda: compress(bitwidths=(2, 3)),
    lambda: compress(loss=nan_loss),
    lambda: front(targets=["4-bit", "memory: 2 KB"]),
    cuda,
    foreign_file,
    no_compiler,
    old_python,
    lambda: scale(lambda content: content.update(seed=[0])),
    lambda: scale(lambda content: content["search"].pop("ramp")),
    lambda: load_dataset(Path("data/cifar100.safetensors")),
    images_elsewhere,
    imagenet_without_images,
    other_weights,
]


@pytest.mark.parametrize(("quoted", "call"), list(zip(QUOTED, RAISED, strict=True)))
def test_an_error_of_the_page_is_raised_like_that(
    quoted: str, call: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SBS_DATA_DIR", raising=False)
    with pytest.raises(SBSError) as caught:
        call()
    assert str(caught.value) == quoted
