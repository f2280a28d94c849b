"""The examples do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from sbs.data.cifar import _decoded
from sbs.data.dataset_files import save_dataset
from sbs.data.images import ImageSet, make_dataset
from tests.conftest import ROOT


def run(name: str, *words: str | Path) -> str:
    """Output of an example on one thread."""
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_digits(tmp_path: Path) -> None:
    text = run("digits.py", "--epochs", "5", "--output", tmp_path)
    found = {name: float(top1) for name, top1 in re.findall(r"^(\w.*?) +([\d.]+) %$", text, re.M)}
    assert list(found) == ["full precision", "compressed", "packed file", "ONNX"]
    assert found["full precision"] > 95
    assert found["compressed"] > 90
    assert found["compressed"] == found["packed file"] == pytest.approx(found["ONNX"], abs=0.3)
    assert "target 3-bit: the search got there" in text
    assert f"{tmp_path / 'digits.onnx'}: " in text


@pytest.fixture
def few_images(data_dir: Path, tmp_path: Path) -> Path:
    """Some images of CIFAR-100 as the file that `sbs fetch` writes."""
    parts = []
    for split, count in (("train", 320), ("test", 200)):
        [path] = (data_dir / "cifar100").glob(f"{split}-*.parquet")
        rows = next(pq.ParquetFile(path).iter_batches(count)).to_pylist()
        pixels = [torch.tensor(_decoded(row["img"]["bytes"])) for row in rows]
        labels = torch.tensor([row["fine_label"] for row in rows])
        parts.append(ImageSet(torch.stack(pixels).permute(0, 3, 1, 2).contiguous(), labels))
    save_dataset(make_dataset("cifar100", *parts, classes=100), tmp_path / "cifar100.safetensors")
    return tmp_path / "cifar100.safetensors"


def test_cifar100(few_images: Path, weights_dir: Path, tmp_path: Path) -> None:
    [weights] = weights_dir.glob("*cifar100*resnet20*")
    options = ["--epochs", "5", "--batch-size", "16", "--output", tmp_path / "network.sbs"]
    text = run("cifar100.py", few_images, weights, *options)
    assert "target 3-bit: the search got there" in text
    [(after, before)] = re.findall(r"^validation: ([\d.]+), before ([\d.]+)$", text, re.M)
    assert float(before) > 60
    assert float(after) > 2  # better than chance, after few steps on few images
    assert (tmp_path / "network.sbs").stat().st_size < weights.stat().st_size / 5
