"""What the benchmarks time does what they say."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks import data_path, starts
from benchmarks.__main__ import run
from benchmarks.steps import VARIANTS, Network, make_step


@pytest.mark.parametrize("name", [name for name in VARIANTS if "compiled" not in name])
def test_every_step_trains(name: str) -> None:
    if "Brevitas" in name:
        pytest.importorskip("brevitas", reason="make bench installs the peer")
    step = make_step(VARIANTS[name], Network(), batch=4)
    before = [parameter.detach().clone() for parameter in step.task.model.parameters()]
    for _ in range(2):
        step()
    after = list(step.task.model.parameters())
    moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert sum(moved) > 0.9 * len(moved)


@pytest.mark.parametrize("name", ["fixed 4-bit", "SBS", "SBS-Q", "multi-path"])
def test_reference_step_is_the_same_step(name: str) -> None:
    losses = []
    for variant in (name, f"{name}, reference"):
        step = make_step(VARIANTS[variant], Network(), batch=8)
        torch.manual_seed(5)
        step()
        with torch.no_grad():
            torch.manual_seed(6)
            step.task.model.eval()
            losses.append(step.task.loss((step.images, step.labels)))
    torch.testing.assert_close(losses[0], losses[1], atol=0.05, rtol=0.02)


@pytest.mark.parametrize("part", ["images", "starts"])
def test_a_part_without_steps_is_written_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """As the first part of `make bench` is, in a fresh clone."""
    rates = {"ours": 200.0, "torchvision": 100.0}
    monkeypatch.setattr(data_path, "measure", lambda _: rates)
    monkeypatch.setattr(starts, "measure", lambda _: {"import torch": 2.0, "sbs.inspect": 3.0})
    path = tmp_path / "benchmarks.csv"
    run(path, 1, 1, "20", part)
    assert set(pd.read_csv(path)["ratio"]) == {1.0, 2.0 if part == "images" else 1.5}
    assert path.with_suffix(".md").is_file()


def test_first_uses_are_beside_the_import_of_pytorch() -> None:
    found = starts.measure(1)
    assert list(found) == ["import torch", "sbs.inspect", "sbs.compress"]
    assert all(seconds > 0 for seconds in found.values())
