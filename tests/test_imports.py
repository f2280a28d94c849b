"""What must stay out of a module's imports; their order is a contract in ``pyproject.toml``."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    "module",
    ["sbs.cli", "sbs.results.collect", "sbs.config.experiments", "sbs.provenance.code"],
)
def test_what_starts_often_starts_without_pytorch(module: str) -> None:
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
