"""A package outside the repository adds a method, a network and a table, without an edit here."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT
from tests.working_copy import edit, environment, snakemake

OUTSIDE = ROOT / "tests" / "outside"
ROWS = (
    "network\tmethod\tvariant\ttables\toptions",
    "tiny\trandom_bits\tdefault\trandom_table\tsearch.target=4-bit",
    "tiny\tsbs\tdefault\trandom_table\tsearch.target=4-bit",
    "tiny\tfixed4\tdefault\trandom_table\t",
)


def install(package: Path, site: Path) -> None:
    """Put a package and its entry points where Python finds them, as an installer would."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    shutil.copytree(package / project["name"], site / project["name"])
    facts = site / f"{project['name']}-{project['version']}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (facts / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.end_to_end
def test_an_outside_package_runs_through_the_workflow(tmp_path: Path) -> None:
    folder, site = tmp_path / "project", tmp_path / "site"
    for name in ("workflow", "config", "notebooks"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "environment.yml", folder)
    install(OUTSIDE, site)
    (folder / "config" / "experiments.tsv").write_text("\n".join(ROWS) + "\n")
    edit(folder, networks=["tiny"], seeds=[0], random_bits={"tries": 1000})
    for stage in ("pretrain", "search", "finetune"):
        edit(folder, stage, epochs=2)
    edit(folder, "pretrain", seeds=[0])

    paths = f"{site}:{environment().get('PYTHONPATH', '')}"
    done = snakemake(folder, "results/random_table.csv", PYTHONPATH=paths)
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(folder / "results" / "random_table.csv")
    found = table[table["method"] != "fp"].groupby("label", sort=False)["bops"].agg(["size", "max"])
    assert set(found.index) == {"Random bits", "SBS", "4-bit precision"}
    assert found["size"].eq(1).all()
    assert found["max"].le(found.loc["4-bit precision", "max"]).all()
    drawn = table[table["method"] == "random_bits"]
    assert drawn["target"].eq(found.loc["4-bit precision", "max"]).all()

    # An edit of the outside method's own code makes its searches stale and no others.
    method = site / "outside" / "random_bits.py"
    method.write_text(method.read_text().replace("range(2)", "range(1, 3)"))
    plan = snakemake(folder, "--dry-run", "results/random_table.csv", PYTHONPATH=paths)
    searches = [
        line for line in plan.stdout.splitlines() if "/search.json" in line and "output" in line
    ]
    assert len(searches) == 1
    assert all("random_bits" in line for line in searches)
