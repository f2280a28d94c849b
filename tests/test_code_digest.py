"""The digest of code: what it follows, what it sees, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sbs.errors import SBSError
from sbs.provenance.code import imported_by, source_digest
from tests.conftest import ROOT


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with a package and a single module that use this one, and a package that is not."""
    files = {
        "other_lab/__init__.py": "NAME = 'lab'\n",
        "other_lab/random_bits.py": (
            '"""Draws bits."""\n'
            "import numpy\nimport stranger\n"
            "from . import tools\nfrom .deep.inner import draw\n"
            "from sbs.config.target import parse_target\n"
        ),
        "other_lab/tools.py": "import other_lab.deep\n",
        "other_lab/deep/__init__.py": "",
        "other_lab/deep/inner.py": "from .. import NAME\ndef draw() -> int:\n    return 4\n",
        "other_lab/unused.py": "",
        "single.py": "from sbs.policy import Policy\n",
        "stranger.py": "import other_lab.unused\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def asked(folder: Path, expression: str) -> str:
    """What a new process with ``folder`` on its path says; no PyTorch, no outside import."""
    code = (
        "import sys; from sbs.provenance.code import imported_by, source_digest; "
        f"print({expression}); assert not {{'torch', 'other_lab', 'single'}} & set(sys.modules)"
    )
    path = [str(ROOT), str(folder)]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {path}; {code}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_an_outside_package_is_followed_into_this_one(outside: Path) -> None:
    found = asked(outside, "sorted(imported_by('other_lab.random_bits'))")
    own = {"other_lab", "other_lab.deep", "other_lab.deep.inner", "other_lab.random_bits"}
    assert own | {"other_lab.tools", "sbs", "sbs.config.target", "sbs.errors"} <= set(eval(found))
    assert not {"other_lab.unused", "stranger", "numpy"} & set(eval(found))


def test_an_outside_module_without_a_package_is_followed(outside: Path) -> None:
    found = eval(asked(outside, "sorted(imported_by('single'))"))
    assert {"single", "sbs.policy", "sbs.errors"} <= set(found)


@pytest.mark.parametrize("name", ["__init__", "random_bits", "tools", "deep/inner"])
def test_an_edit_of_an_outside_module_counts(outside: Path, name: str) -> None:
    question = "source_digest('other_lab.random_bits')"
    before = asked(outside, question)
    path = outside / "other_lab" / f"{name}.py"
    text = path.read_text()
    path.write_text(text + "# a comment\n")
    assert asked(outside, question) == before
    path.write_text(text + "MORE = 1\n")
    assert asked(outside, question) != before


def test_what_the_kernels_compile_counts() -> None:
    from sbs.provenance import code

    package = ROOT / "sbs" / "kernels" / "__init__.py"
    sources = code._compiled_sources(package)
    headers = sorted((ROOT / "sbs" / "kernels" / "csrc").glob("*.h"))
    assert headers
    assert all(header.read_text() in sources for header in headers)
    assert "sbs.kernels" in imported_by("sbs.stages.finetune")


def test_an_unknown_module_is_named() -> None:
    with pytest.raises(SBSError, match=r"sbs\.methods\.none: no such Python module"):
        source_digest("sbs.methods.none")
    with pytest.raises(SBSError, match="no_such_package: no such Python module"):
        source_digest("no_such_package")
