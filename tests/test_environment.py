"""One set of versions in three files, and a Makefile that knows where each scale writes."""

from __future__ import annotations

import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from rattler import MatchSpec

from tests.conftest import ROOT, SCALES

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
DECLARED = [
    requirement
    for requirement in map(Requirement, chain(PROJECT["dependencies"], *EXTRAS.values()))
    if requirement.name != PROJECT["name"]  # an extra that takes in another one
]
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = dict(re.findall(r"^([a-z0-9.-]+)==([^\s;\\]+)", LOCK, re.MULTILINE))
CONDA: list[Any] = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
CONDA_SPECS = [part for part in CONDA if isinstance(part, str)]
CONDA_PIP = next(part["pip"] for part in CONDA if isinstance(part, dict))
CONDA_PINS = dict(line.split("==") for line in CONDA_PIP if "==" in line)


@pytest.mark.parametrize("requirement", DECLARED, ids=str)
def test_declared_package_is_locked_in_its_range_and_pinned_for_conda(
    requirement: Requirement,
) -> None:
    version = LOCKED[requirement.name]
    assert requirement.specifier.contains(version), "run `make lock`"
    assert CONDA_PINS.get(requirement.name) == version, "correct environment.yml"


def test_conda_pins_nothing_undeclared_and_installs_the_package() -> None:
    assert set(CONDA_PINS) == {requirement.name for requirement in DECLARED}
    assert [line for line in CONDA_PIP if "==" not in line] == ["--editable ."]


def test_every_locked_package_carries_hashes() -> None:
    entries = re.split(r"^(?=[a-z0-9.-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) > len(DECLARED)
    assert not [entry for entry in entries if "--hash=sha256:" not in entry]


@pytest.mark.parametrize(("name", "version"), [("torch", "2.14.1"), ("torchvision", "0.29.1")])
def test_the_pair_that_results_were_measured_with(name: str, version: str) -> None:
    assert LOCKED[name] == CONDA_PINS[name] == version


@pytest.mark.parametrize("spec", CONDA_SPECS)
def test_conda_reads_the_spec(spec: str) -> None:
    MatchSpec(spec)


def test_conda_has_the_oldest_python_that_is_supported() -> None:
    python = next(spec for spec in CONDA_SPECS if spec.startswith("python"))
    assert python.replace("=", ">=") == f"python{PROJECT['requires-python']}"


@pytest.mark.parametrize("path", SCALES, ids=lambda p: p.stem)
def test_make_names_the_folder_that_the_scale_writes(path: Path) -> None:
    scale = yaml.safe_load(path.read_text())
    command = ["make", "--dry-run", "table1", "snapshot", f"SCALE={scale['scale']}"]
    plan = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"--configfile config/{path.name} -- exhibit_table1\n" in plan
    assert f" save {scale['results']} results/measured/{scale['scale']}\n" in plan


@pytest.mark.parametrize(
    ("word", "missing"),
    [("SCALE=nope", "config/nope.yaml"), ("CONFIG=config/config.yaml nope.yaml", "nope.yaml")],
)
def test_make_names_a_missing_scale_file_before_anything(word: str, missing: str) -> None:
    command = ["make", "--no-print-directory", "--dry-run", "table1", word]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"no scale file {missing}; correct SCALE or CONFIG" in done.stderr
    assert all(str(path.relative_to(ROOT)) in done.stderr for path in SCALES)
    assert "claims" not in done.stderr
