"""Snapshots hold what git should, and give the run records back."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sbs.errors import SBSError
from sbs.results.snapshot import restore, save
from tests.conftest import ROOT
from tests.working_copy import edit, environment, snakemake, with_stub

RUN = "resnet20/sbs/default/seed-0"
RECORDS = {
    "pretrain/resnet20/seed-0/metrics.json",
    f"search/{RUN}/policy.json",
    f"search/{RUN}/search.json",
    f"finetune/{RUN}/metrics.json",
}
TABLES = {"table1.csv", "table1.md", "fig4.svg", "runs/all.csv", "runs/table1.csv"}
OTHERS = {
    "README.md",
    "benchmarks/search/run.tsv",
    "logs/search/run.log",
    "notebooks/table1.html",
    f"finetune/{RUN}/weights.safetensors",
    f"search/{RUN}/resume/state-0.pt",
    # Another scale, and an older snapshot.
    f"cifar100-short/finetune/{RUN}/metrics.json",
    "cifar100-short/table1.csv",
    "measured/digits/table2.csv",
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    fill(folder, RECORDS | TABLES | OTHERS)
    return folder


def fill(folder: Path, names: set[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_snapshot_is_tables_figures_and_records_of_now(results: Path) -> None:
    snapshot = results / "measured" / "digits"
    save(results, snapshot)
    assert contents(snapshot) == {name: name for name in RECORDS | TABLES}


def test_records_come_back_and_nothing_else(results: Path, tmp_path: Path) -> None:
    save(results, tmp_path / "snapshot")
    restore(tmp_path / "elsewhere", tmp_path / "snapshot")
    assert contents(tmp_path / "elsewhere") == {name: name for name in RECORDS}


def test_restored_inputs_are_not_newer_than_what_was_made_of_them(
    results: Path, tmp_path: Path
) -> None:
    """Without its own records of provenance, Snakemake goes by age."""
    save(results, tmp_path / "snapshot")
    copies = restore(tmp_path / "elsewhere", tmp_path / "snapshot")
    age = {copy.relative_to(tmp_path / "elsewhere").parts[0]: copy.stat() for copy in copies}
    assert age["search"].st_mtime_ns <= age["finetune"].st_mtime_ns


def test_restoring_keeps_other_records_that_are_there(results: Path, tmp_path: Path) -> None:
    save(results, tmp_path / "snapshot")
    (results / f"search/{RUN}/policy.json").unlink()
    record = results / f"finetune/{RUN}/metrics.json"
    record.write_text("other")
    copies = restore(results, tmp_path / "snapshot")
    assert record not in copies
    assert len(copies) == len(RECORDS) - 1
    assert record.read_text() == "other"


def test_with_nothing_to_copy_the_older_snapshot_stays(results: Path, tmp_path: Path) -> None:
    save(results, tmp_path / "snapshot")
    with pytest.raises(SBSError, match="run the scale first"):
        save(tmp_path / "nowhere", tmp_path / "snapshot")
    assert contents(tmp_path / "snapshot")


def test_a_scale_without_snapshot_ends_with_one_message(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "sbs.results.snapshot",
        "restore",
        "results",
        "results/measured/cifar",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    where, what = done.stderr.split(": no run record to restore; ")
    assert where == "sbs: results/measured/cifar"
    assert what == "is this the name of a scale?\n"


@pytest.mark.parametrize(
    ("seeds", "goal", "runs"),
    [([0, 1], "table1", 10), ([0], "table5", 1)],
    ids=["more seeds", "another table"],
)
def test_an_unfinished_scale_goes_on_elsewhere_without_repeating_runs(
    tmp_path: Path, seeds: list[int], goal: str, runs: int
) -> None:
    for name in ("workflow", "config", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("Makefile", "README.md", "environment.yml"):
        shutil.copy(ROOT / name, tmp_path)
    edit(tmp_path, networks=["resnet20"], seeds=[0])
    edit(tmp_path, "pretrain", seeds=[0])
    path = with_stub(tmp_path)
    make = ["make", "--old-file=environment", "SCALE=digits"]

    assert snakemake(tmp_path, "results/runs/table1.csv", PATH=path).returncode == 0
    subprocess.run([*make, "snapshot"], cwd=tmp_path, env=environment(PATH=path), check=True)
    shutil.move(tmp_path / "results", tmp_path / "here")
    shutil.rmtree(tmp_path / ".snakemake")
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(tmp_path / "here" / "measured", tmp_path / "results" / "measured")
    edit(tmp_path, seeds=seeds)
    subprocess.run([*make, "restore"], cwd=tmp_path, env=environment(PATH=path), check=True)

    plan = snakemake(tmp_path, "--dry-run", f"results/runs/{goal}.csv").stdout
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", plan, re.MULTILINE))
    counts = {"search": runs, "finetune": runs, "collect": 1, "total": 2 * runs + 1}
    assert jobs == {name: str(count) for name, count in counts.items()}
