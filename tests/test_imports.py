"""What must stay out of a module's imports; their order is a contract in ``pyproject.toml``."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sbs
from tests.conftest import ROOT

SLOW = ("torch._dynamo", "torchvision", "pandas", "matplotlib", "seaborn", "scipy", "sklearn")
OF_EXTRAS = ("onnx", "onnx_ir", "onnxruntime", "onnxscript", "snakemake", "dvc", "pyarrow")


def imported_by(code: str) -> set[str]:
    """Modules that are there after some code has run in a new process."""
    code = f"{code}\nimport sys; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    ["sbs", "sbs.cli", "sbs.results.collect", "sbs.config.experiments", "sbs.provenance.code"],
)
def test_what_starts_often_starts_without_pytorch(module: str) -> None:
    assert "torch" not in imported_by(f"import {module}")


def test_functions_of_the_package_import_no_package_that_takes_long() -> None:
    found = imported_by(f"import sbs; [getattr(sbs, name) for name in {sbs.__all__}]")
    assert "torch" in found
    assert not found & {*SLOW, *OF_EXTRAS}


def test_type_checkers_see_the_same_names() -> None:
    stub = ast.parse(Path(sbs.__file__).with_suffix(".pyi").read_text())
    names = {}
    for node in stub.body:
        assert isinstance(node, ast.ImportFrom)
        names |= {alias.asname: node.module for alias in node.names}
    assert names == sbs._PUBLIC
