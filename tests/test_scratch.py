"""Runs from scratch (Table 12): no pretrained network, and training long enough without one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from sbs.cli import app
from sbs.config.scale import Scale, canonical_json, stage_settings
from sbs.config.settings import TrainSettings
from sbs.errors import SBSError
from sbs.provenance.records import RunRecord
from sbs.runtime.checkpoints import read_weights
from tests.test_engine import shortened
from tests.working_copy import copy, planned, snakemake

__all__ = ["copy"]

SCRATCH = {"search.start": "scratch"}


def test_the_network_is_then_trained_like_the_full_precision_one(default_scale: Scale) -> None:
    settings = stage_settings(default_scale, "finetune", SCRATCH, "sbs")["finetune"]
    pretrain = default_scale.pretrain.model_dump(mode="json")
    for name in TrainSettings.model_fields:
        assert settings[name] == pretrain[name]
    assert settings["epochs_without_search"] == pretrain["epochs"]
    assert settings["start"] == "searched"
    usual = stage_settings(default_scale, "finetune", {}, "sbs")["finetune"]
    assert usual["epochs"] == default_scale.finetune.epochs != pretrain["epochs"]


def search(scale: Scale, data: Path, out: Path, start: str, *rest: str) -> None:
    settings = stage_settings(scale, "search", {"search.start": start}, "fixed4")
    words = ["search", "--network", "resnet20", "--method", "fixed4", "--data", str(data)]
    words += ["--settings", canonical_json(settings), "--record", str(out / "search.json")]
    words += ["--weights", str(out / "w.safetensors"), "--policy", str(out / "policy.json")]
    CliRunner().invoke(app, [*words, *rest], catch_exceptions=False)


def test_a_search_from_scratch_starts_at_random_weights(
    default_scale: Scale, digits_file: Path, tmp_path: Path
) -> None:
    scale = shortened(default_scale, epochs=0)
    search(scale, digits_file, tmp_path, "scratch")
    assert RunRecord.load(tmp_path / "search.json").inputs == {}
    weights = read_weights(tmp_path / "w.safetensors")
    assert torch.equal(weights["bn1.running_mean"], torch.zeros(16))
    given = ["--pretrained", str(tmp_path / "w.safetensors")]
    with pytest.raises(SBSError, match=r"search\.start is scratch: leave out --pretrained"):
        search(scale, digits_file, tmp_path, "scratch", *given)
    with pytest.raises(SBSError, match=r"search\.start is pretrained: give --pretrained"):
        search(scale, digits_file, tmp_path, "pretrained")


def test_no_run_of_table_12_has_a_pretrained_network(copy: Path) -> None:
    assert planned(copy, "results/runs/table12.csv") == {"fetch", "search", "finetune", "collect"}
    assert "pretrain" in planned(copy, "results/runs/table10.csv")
    shown = snakemake(copy, "--dry-run", "--printshellcmds", "results/runs/table12.csv").stdout
    assert "--method sbs" in shown
    assert "--pretrained" not in shown
