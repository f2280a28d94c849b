"""What a job needs stands in the scale, whatever machine the workflow is started on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from sbs.config.scale import STAGES, load_scale, stage_settings
from sbs.errors import SBSError
from tests.conftest import ROOT, SCALES
from tests.working_copy import copy, edit, environment, planned, snakemake, with_stub

__all__ = ["copy"]

MINUTES = {"pretrain": 5, "search": 5, "finetune": 5}


def needs_of_searches(folder: Path, **more: str) -> set[frozenset[str]]:
    """What the jobs of rule ``search`` ask for in a dry run."""
    done = snakemake(folder, "--dry-run", "results/runs/table1.csv", **more)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = re.findall(r"^rule search:\n((?:    .*\n)+)", done.stdout, re.MULTILINE)
    assert jobs
    lines = {line for job in jobs for line in job.splitlines() if "resources:" in line}
    return {frozenset(line.strip().removeprefix("resources: ").split(", ")) for line in lines}


@pytest.mark.parametrize("gpu", [0, 1])
def test_the_host_that_submits_decides_nothing(copy: Path, gpu: int) -> None:
    """A login node without GPUs, and a machine with one: the same needs."""
    edit(copy, "resources", gpu=gpu, mem_mb=7000, minutes={**MINUTES, "search": 33})
    tool = copy / "tools" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    found = needs_of_searches(copy, PATH=f"{tool.parent}:{environment()['PATH']}")
    assert found == needs_of_searches(copy)
    (needs,) = found
    assert {f"gpu={gpu}", "mem_mb=7000", "runtime=33"} <= needs


def test_an_edit_of_resources_reruns_nothing(copy: Path) -> None:
    goal = "results/runs/table1.csv"
    assert snakemake(copy, goal, PATH=with_stub(copy)).returncode == 0
    edit(copy, "resources", gpu=2, mem_mb=9999, threads=2, minutes=MINUTES)
    assert planned(copy, goal) == set()


def test_a_job_has_a_process_for_each_gpu(copy: Path) -> None:
    edit(copy, "resources", gpu=3)
    # With the default profile's gpu=1, one job at a time has all of them.
    for limit in ([], ["--resources", "gpu=3"]):
        done = snakemake(copy, "results/runs/table1.csv", "-n", "-p", *limit)
        assert done.returncode == 0, done.stdout + done.stderr
        commands = re.findall(r"sbs (?:pretrain|search|finetune) .*", done.stdout)
        assert commands
        assert all("--processes 3 " in command for command in commands)


@pytest.mark.parametrize("path", SCALES, ids=lambda p: p.stem)
def test_resources_are_no_settings_of_a_stage(path: Path) -> None:
    scale = load_scale(path)
    for stage in STAGES:
        assert "resources" not in json.dumps(stage_settings(scale, stage, {}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpu": -1}, r"resources\.gpu: "),
        ({"mem_mb": 0}, r"resources\.mem_mb: "),
        ({"minutes": {"search": 3}}, r"resources\.minutes\.pretrain: missing key"),
        ({"gpus": 1}, r"resources\.gpus: unknown key"),
    ],
)
def test_bad_resources_are_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    content = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    content["resources"].update(change)
    path = tmp_path / "scale.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(SBSError, match=message):
        load_scale(path)


def test_a_scale_on_cuda_asks_for_a_gpu(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    content["runtime"]["device"] = "cuda"
    path = tmp_path / "scale.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(SBSError, match=r"resources\.gpu is 0, but runtime\.device is cuda"):
        load_scale(path)
