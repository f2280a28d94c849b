"""A working copy of the workflow, and Snakemake in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

STUB = """#!{python}
import pathlib, sys
words = sys.argv[1:]
for option in ("--output", "--weights", "--record", "--policy"):
    if option in words and not (option == "--policy" and words[0] == "finetune"):
        path = pathlib.Path(words[words.index(option) + 1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" ".join(words))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A working copy of the workflow with a small config: one network, one seed."""
    for name in ("workflow", "config", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "environment.yml", tmp_path)
    edit(tmp_path, networks=["resnet20"], seeds=[0])
    edit(tmp_path, "pretrain", epochs=2, seeds=[0])
    edit(tmp_path, "search", epochs=3)
    edit(tmp_path, "dq", epochs=3)
    edit(tmp_path, "haq", episodes=3, warmup_episodes=1, images=128)
    edit(tmp_path, "finetune", epochs=3)
    return tmp_path


def edit(folder: Path, section: str | None = None, **changes: Any) -> None:
    path = folder / "config" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    (config[section] if section else config).update(changes)
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def environment(**more: str) -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", **more}


def snakemake(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *words]
    return subprocess.run(
        command, cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=600
    )


def with_stub(folder: Path) -> str:
    """A PATH whose ``sbs`` only writes its outputs."""
    stub = folder / "stub" / "sbs"
    stub.parent.mkdir()
    stub.write_text(STUB.format(python=sys.executable))
    stub.chmod(0o755)
    return f"{stub.parent}:{environment()['PATH']}"


def planned(folder: Path, *words: str) -> set[str]:
    """Names of the rules that a dry run would run."""
    done = snakemake(folder, "--dry-run", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    rules = (
        line.split()[1].rstrip(":") for line in lines if line.startswith(("rule ", "localrule "))
    )
    return set(rules)
