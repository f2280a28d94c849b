"""pyproject.toml, requirements.lock and environment.yml name the same versions."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from rattler import MatchSpec

from tests.conftest import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA: list[Any] = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
DECLARED = [
    Requirement(line)
    for line in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
]
PINS = {
    line.partition("==")[0]: line.partition("==")[2]
    for line in next(part for part in CONDA if isinstance(part, dict))["pip"]
    if "==" in line
}


def locked() -> dict[str, str]:
    """Package name to version."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    matches = (re.match(r"([a-z0-9_.-]+)==([^\s;\\]+)", line) for line in lines)
    return {match[1]: match[2] for match in matches if match}


@pytest.mark.parametrize("requirement", DECLARED, ids=str)
def test_every_declared_package_is_locked_within_its_range_and_pinned_for_conda(
    requirement: Requirement,
) -> None:
    version = locked()[requirement.name]
    assert requirement.specifier.contains(version)
    assert PINS[requirement.name] == version


def test_conda_pins_nothing_undeclared() -> None:
    assert set(PINS) == {requirement.name for requirement in DECLARED}


def test_lock_carries_hashes() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert text.count("--hash=sha256:") > len(locked())


def test_torch_and_torchvision_are_the_pair_that_results_were_measured_with() -> None:
    assert (locked()["torch"], locked()["torchvision"]) == ("2.14.1", "0.29.1")


def test_conda_specs_parse_and_python_agrees() -> None:
    specs = [part for part in CONDA if isinstance(part, str)]
    for spec in specs:
        MatchSpec(spec)
    python = next(spec for spec in specs if spec.startswith("python="))
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python="))
