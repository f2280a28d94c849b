"""The check of a machine with a GPU, tried on a CPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_check
from benchmarks.gpu_check import Plan, check, main
from benchmarks.kernel_check import cases

PLAN = Plan(torch.device("cpu"), ["tests/test_gates.py"], ["fixed4"], [20], repeats=1, batch=4)


def test_a_small_check_of_a_cpu(tmp_path: Path) -> None:
    assert check(PLAN, tmp_path / "check.json") == []
    record = json.loads((tmp_path / "check.json").read_text())
    assert record["passed"]
    assert {part["outcome"] for part in record["parts"].values()} == {"passed"}
    runs = ["search", "finetune"] * 2  # of 4 bits from M0 and from scratch
    assert [row["stage"] for row in record["stages"]] == ["fetch", "pretrain", *runs]
    assert len(record["kernels"]) == 2 * len(list(cases()))
    assert {row["precision"] for row in record["steps"]} == {"fp32", "bf16"}
    assert all(row["seconds"] > 0 and row["peak_megabytes"] > 0 for row in record["steps"])
    assert {"device", "driver", "revision", "versions"} <= record.keys()


def test_a_part_that_fails_hides_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def breaks(plan: Plan) -> Iterator[dict[str, Any]]:
        yield {"case": "one", "outcome": "failed", "message": "wrong"}
        yield {"case": "two", "outcome": "passed"}
        raise RuntimeError("no more memory")

    parts = {"first": breaks, "last": lambda plan: [{"outcome": "passed"}]}
    monkeypatch.setattr(gpu_check, "PARTS", parts)
    failures = check(PLAN, tmp_path / "check.json")
    assert failures == ["first: one failed wrong", "first: RuntimeError: no more memory"]
    record = json.loads((tmp_path / "check.json").read_text())
    assert not record["passed"]
    assert record["parts"]["last"]["outcome"] == "passed"
    assert len(record["first"]) == 2


def test_without_a_gpu_nothing_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu_check, "check", lambda plan, output: pytest.fail("something was done"))
    with pytest.raises(SystemExit, match="no CUDA device is usable on this machine"):
        main(tmp_path / "check.json")
