"""Sizes and times in onnxruntime, and the table that shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from sbs.cli import app
from sbs.results.exports import export_sizes
from sbs.runtime.checkpoints import save_weights
from sbs.surgery.networks import plain_state
from tests.test_onnx import uniform_network


def test_the_command_measures_a_network_and_its_original(tmp_path: Path) -> None:
    model, policy = uniform_network("resnet20", 4, channels=1)
    policy.save(tmp_path / "policy.json")
    save_weights(plain_state(model), tmp_path / "weights.safetensors")
    words = ["latency", "--policy", str(tmp_path / "policy.json"), "--image-size", "8"]
    words += ["--weights", str(tmp_path / "weights.safetensors"), "--runs", "3"]
    done = CliRunner().invoke(app, [*words, "--output", str(tmp_path / "latency.json")])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "latency.json").read_text())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert found["float_bytes"] == pytest.approx(4 * parameters, rel=0.03)
    assert found["onnx_bytes"] < found["float_bytes"] / 6
    assert found["runs"] == 3
    assert min(found["float_ms"], found["onnx_ms"]) > 0


def test_the_table_has_a_row_a_network(tmp_path: Path) -> None:
    folder = tmp_path / "resnet20" / "sbs" / "default" / "seed-1"
    folder.mkdir(parents=True)
    sizes = {"claimed": 100_000, "packed": 110_000, "file": 120_000}
    times = {"float_bytes": 800_000, "onnx_bytes": 130_000, "float_ms": 2.0, "onnx_ms": 3.0}
    (folder / "sizes.json").write_text(json.dumps(sizes))
    (folder / "latency.json").write_text(json.dumps(times | {"runs": 5}))
    run = {"network": "resnet20", "method": "sbs", "variant": "default"}
    runs = pd.DataFrame([run | {"seed": seed, "memory_bytes": 1000 * seed} for seed in (0, 1)])
    table = export_sizes([folder / "sizes.json"], [folder / "latency.json"], runs)
    (row,) = table.to_dict("records")
    assert row.pop("label") == "SBS"
    assert row == {
        "network": "resnet20",
        "method": "sbs",
        "weights_kb": 100,
        "packed_kb": 110,
        "packed_over_weights": 1.1,
        "file_kb": 120,
        "memory_kb": 1,
        "onnx_kb": 130,
        "float_kb": 800,
        "onnx_ms": 3,
        "float_ms": 2,
        "ms_over_float": 1.5,
    }
