"""The import order: a module imports from its own layer and earlier ones, never in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter

import pytest

from tests.conftest import ROOT

# In import order. A package is one entry, whatever it holds.
LAYERS = {
    "contracts and plumbing": {
        "bitwidths",
        "checkpoints",
        "config",
        "devices",
        "errors",
        "experiments",
        "policy",
        "progress",
        "records",
        "seeding",
        "snapshot",
        "sources",
        "target",
    },
    "arithmetic": {
        "bit_sharing",
        "gates",
        "kernels",
        "packing",
        "native",
        "peer_quantizers",
        "quantizer",
        "rounding",
    },
    "networks": {"dq", "export", "layers", "models", "multipath", "norms", "pruning", "surgery"},
    "cost": {"cost"},
    "learning": {"data", "engine", "evaluate", "finetune", "landing", "penalty", "search"},
    "methods": {"methods"},
    "stages": {"stages"},
    "theory": {"theory"},
    "results": {
        "budgets",
        "claims",
        "collect",
        "comparisons",
        "figure4",
        "figures",
        "metrics",
        "report",
        "scoreboard",
        "tables",
        "trace",
    },
    "surface": {"__init__", "cli"},
}
RANKS = {entry: rank for rank, entries in enumerate(LAYERS.values()) for entry in entries}


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


SOURCES = {
    _module(path.relative_to(ROOT).as_posix()): ast.parse(path.read_text())
    for path in sorted((ROOT / "sbs").rglob("*.py"))
}


def entry(module: str) -> str:
    """Where a module stands in the table."""
    return [*module.split("."), "__init__"][1]


def imports(module: str) -> Iterator[str]:
    """Modules of the package that ``module`` imports, inside functions too."""
    for node in ast.walk(SOURCES[module]):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}, line {node.lineno}: write the import from `sbs`"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in SOURCES else str(node.module) for name in inner]
        else:
            continue
        yield from (name for name in names if name in SOURCES and name != module)


@pytest.mark.parametrize("module", SOURCES)
def test_module_imports_only_from_its_layer_and_earlier_ones(module: str) -> None:
    layers = list(LAYERS)
    assert entry(module) in RANKS, (
        f"{module} stands in no layer: add {entry(module)!r} to LAYERS in tests/test_imports.py, "
        "not before what it imports and not after what imports it"
    )
    own = RANKS[entry(module)]
    later = {name: RANKS[entry(name)] for name in imports(module) if RANKS[entry(name)] > own}
    assert not later, ", ".join(
        f"{module} ({layers[own]}) imports {name} ({layers[rank]}), which comes later"
        for name, rank in later.items()
    )


def test_nothing_imports_in_a_circle() -> None:
    TopologicalSorter({module: set(imports(module)) for module in SOURCES}).prepare()


def test_table_names_nothing_that_is_gone() -> None:
    assert set(RANKS) == {entry(module) for module in SOURCES}


@pytest.mark.parametrize("module", ["sbs.cli", "sbs.collect", "sbs.experiments", "sbs.sources"])
def test_what_starts_often_starts_without_pytorch(module: str) -> None:
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
