"""A stage killed after its last epoch and before its outputs finishes as if nothing had happened.

The kill is simulated in this process: the first output that is about to get its name raises, with
the state of the last epoch on disk. The same command then runs again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from sbs.cli import app
from sbs.config.scale import Scale, canonical_json, stage_settings
from sbs.policy import Policy
from sbs.provenance.records import RunRecord
from sbs.registry.methods import method, searching_methods
from sbs.runtime.checkpoints import read_weights
from tests.test_engine import shortened

NO_TARGET = {"search.target": None, "search.penalty": 3.0}
SEARCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "sbs": ("sbs", {}),
    "sbs in two stages": (
        "sbs",
        {"search.stages": "quantize-first", "search.epochs": 3, "two_stage.finetune_epochs": 1},
    ),
    "sbs_q": ("sbs_q", {}),
    "sbs_q without bit sharing": ("sbs_q", {"search.bit_sharing": False}),
    "sbs_p": ("sbs_p", {"search.target": "0.7 x full"}),
    "sbs_p without a target": ("sbs_p", NO_TARGET),
    "dnas": ("dnas", {}),
    "dq": ("dq", {}),
    "haq": ("haq", {}),
    "fixed4": ("fixed4", {}),
    "random": ("random", {}),
    "sensitivity": ("sensitivity", {}),
    "cost-only": ("cost-only", {}),
    "cost-only-q": ("cost-only-q", {}),
}


def test_every_method_is_here() -> None:
    tested = {method(name).line for name, _ in SEARCHES.values()}
    assert tested == {method(name).line for name in searching_methods()}


class Killed(BaseException):
    """Stands for the end of the process."""


def kill_before_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no file but a state gets its name."""
    replace = os.replace

    def replaced(source: Path, target: Path) -> None:
        if not Path(target).name.startswith("state-"):
            raise Killed
        replace(source, target)

    monkeypatch.setattr(os, "replace", replaced)


def command(scale: Scale, stage: str, data: Path, out: Path, **rest: str | Path) -> list[str]:
    """Arguments of a stage that writes into ``out``."""
    method, overrides = SEARCHES.get(str(rest.pop("search", "")), ("sbs", {}))
    settings = stage_settings(scale, stage, overrides, "" if stage == "pretrain" else method)
    words = [stage, "--network", "resnet20", "--data", str(data)]
    words += ["--settings", canonical_json(settings), "--resume", str(out / "resume")]
    words += ["--weights", str(out / "weights.safetensors"), "--record", str(out / "record.json")]
    if stage != "pretrain":
        words += ["--method", method]
    for key, value in rest.items():
        words += [f"--{key}", str(value)]
    return words


def run(words: list[str]) -> None:
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output


def run_killed(words: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kill_before_outputs(patch)
        with pytest.raises(Killed):
            CliRunner().invoke(app, words, catch_exceptions=False)
    run(words)


def outputs(out: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any], str]:
    """Weights, what the record says of the result, and the policy's text."""
    record = RunRecord.load(out / "record.json").model_dump(mode="json")
    for key in ("wall_seconds", "device_hours", "peak_memory_bytes", "interruptions"):
        del record[key]
    for entry in record["history"]:
        del entry["seconds"]
    policy = out / "policy.json"
    return (
        read_weights(out / "weights.safetensors"),
        record,
        policy.read_text() if policy.exists() else "",
    )


def assert_same_outputs(whole: Path, killed: Path) -> None:
    (weights, record, policy), (other, its_record, its_policy) = outputs(whole), outputs(killed)
    assert policy == its_policy
    assert record == its_record
    assert weights.keys() == other.keys()
    for name, value in weights.items():
        assert torch.equal(value, other[name]), name


@pytest.fixture(scope="module")
def short_scale(default_scale: Scale) -> Scale:
    return shortened(default_scale, epochs=2)


@pytest.fixture(scope="module")
def pretrained(
    short_scale: Scale, few_digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("pretrain")
    run(command(short_scale, "pretrain", few_digits, out))
    return out


def test_pretraining(
    short_scale: Scale, few_digits: Path, pretrained: Path, tmp_path: Path
) -> None:
    run_killed(command(short_scale, "pretrain", few_digits, tmp_path))
    assert_same_outputs(pretrained, tmp_path)


@pytest.mark.parametrize("search", SEARCHES)
def test_searches(
    search: str, short_scale: Scale, few_digits: Path, pretrained: Path, tmp_path: Path
) -> None:
    for way, runs in (("whole", run), ("killed", run_killed)):
        runs(
            command(
                short_scale,
                "search",
                few_digits,
                tmp_path / way,
                search=search,
                pretrained=pretrained / "weights.safetensors",
                policy=tmp_path / way / "policy.json",
            )
        )
    assert_same_outputs(tmp_path / "whole", tmp_path / "killed")
    layers = Policy.load(tmp_path / "killed" / "policy.json").layers
    assert layers["conv1"].weight_shape == (16, 1, 3, 3)
    assert layers["fc"].weight_shape == (10, 64)
    if search.startswith("sbs_p"):
        assert any(layer.kept is not None for layer in layers.values()), "nothing was pruned"


@pytest.mark.parametrize("search", ["sbs", "dq"])
def test_fine_tuning(
    search: str, short_scale: Scale, few_digits: Path, pretrained: Path, tmp_path: Path
) -> None:
    found = tmp_path / "search"
    run(
        command(
            short_scale,
            "search",
            few_digits,
            found,
            search=search,
            pretrained=pretrained / "weights.safetensors",
            policy=found / "policy.json",
        )
    )
    for way, runs in (("whole", run), ("killed", run_killed)):
        runs(
            command(
                short_scale,
                "finetune",
                few_digits,
                tmp_path / way,
                search=search,
                policy=found / "policy.json",
                start=found / "weights.safetensors",
            )
        )
    assert_same_outputs(tmp_path / "whole", tmp_path / "killed")
