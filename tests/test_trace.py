"""From a cell to its runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from sbs.errors import SBSError
from sbs.results.collect import collect
from sbs.results.tables import table5, table_of_runs
from sbs.results.trace import COLUMNS, trace
from tests.conftest import ROOT
from tests.records import record, without_sharing

PUBLISHED = pd.read_csv(ROOT / "config" / "published.csv")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Tables 1 and 5 of two methods, with their records where the workflow puts them."""
    records = [record(stage="pretrain", method="fp", variant="default")]
    for seed, top1 in ((0, 90.0), (1, 94.0)):
        for make in (partial(record, method="sbs_q"), without_sharing):
            records.append(
                make(seed=seed, top1=top1, git_revision="abc", inputs={"policy": "d" * 64})
            )
            records.append(make(stage="search", seed=seed))
    for one in records:
        below = Path(one.network) / one.method / one.variant
        if one.stage == "pretrain":
            below = Path(one.network)
        name = "search.json" if one.stage == "search" else "metrics.json"
        path = tmp_path / one.stage / below / f"seed-{one.seed}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        one.save(path)
    (tmp_path / "runs").mkdir()
    sharing = [one for one in records if one.variant == "default"]
    tables = {
        "table1": (sharing, partial(table_of_runs, "table1")),
        "table5": (records, table5),
    }
    for name, (chosen, table) in tables.items():
        runs = collect(chosen)
        runs.to_csv(tmp_path / "runs" / f"{name}.csv", index=False)
        made = table(runs, PUBLISHED)
        made.to_csv(tmp_path / f"{name}.csv", index=False)
        made.to_markdown(tmp_path / f"{name}.md")
    return tmp_path


def test_a_cell_leads_to_every_run_with_its_provenance(results: Path) -> None:
    text = trace(results / "table1.csv", "resnet20 sbs_q", "top1_mean")
    assert "top1_mean = 92.0" in text
    assert "seed 0: top1 = 90.0" in text
    assert "seed 1: top1 = 94.0" in text
    assert str(results / "finetune/resnet20/sbs_q/default/seed-1/metrics.json") in text
    assert str(results / "search/resnet20/sbs_q/default/seed-1/search.json") in text
    assert "revision abc" in text
    assert "from policy dddddddddddd" in text


def test_renamed_methods_and_full_precision_have_their_records(results: Path) -> None:
    text = trace(results / "table5.csv", "resnet20 sbs_q_without_sharing", "search_hours")
    assert "sbs_q/multi-path/seed-0/search.json" in text
    text = trace(results / "table1.csv", "resnet20 fp", "bops_m")
    assert str(results / "pretrain/resnet20/seed-0/metrics.json") in text


def test_published_cells_lead_to_the_paper(results: Path) -> None:
    text = trace(results / "table1.csv", "resnet20 sbs_q", "published_top1")
    assert text.splitlines()[0].endswith("published_top1 = 68.1")
    assert "config/published.csv" in text


def test_a_ratio_to_the_row_with_sharing_names_the_runs_of_both(results: Path) -> None:
    row = "resnet20 sbs_q_without_sharing"
    text = trace(results / "table5.csv", row, "search_hours_over_sharing")
    above, below = text.split("divided by the mean of:")
    assert "sbs_q/multi-path/seed-1/search.json" in above
    assert "sbs_q/default/seed-1/search.json" in below
    published = trace(results / "table5.csv", row, "published_hours_over_sharing")
    assert "a ratio of numbers printed in the paper" in published


def test_the_number_of_seeds_leads_to_the_runs(results: Path) -> None:
    text = trace(results / "table1.csv", "resnet20 sbs_q", "seeds")
    assert text.splitlines()[0].endswith("seeds = 2")
    assert text.count("\nseed ") == 2


def test_every_measured_column_can_be_traced(results: Path) -> None:
    constant = {"scale", "dataset", "network", "method", "label", "run_method", "variants"}
    for name in ("table1", "table5"):
        columns = set(pd.read_csv(results / f"{name}.csv").columns)
        measured = {column for column in columns if not column.startswith("published")}
        assert measured - constant <= COLUMNS.keys()


@pytest.mark.parametrize(
    ("table", "row", "column", "message"),
    [
        ("table1.csv", "resnet20 dq", "top1_mean", "no row 'resnet20 dq'; the rows are resnet20"),
        ("table1.csv", "resnet20", "top1_mean", "write network and method"),
        ("table1.csv", "resnet20 fp", "top9", "no column 'top9'"),
        ("table9.csv", "resnet20 fp", "top1_mean", "cannot read the table"),
        (
            "table1.md",
            "resnet20 fp",
            "top1_mean",
            r"table1\.md: .*; give the \.csv of a table of runs",
        ),
        (
            "runs/table1.csv",
            "resnet20 fp",
            "top1_mean",
            "no table of runs: it has no column run_me",
        ),
    ],
)
def test_what_is_not_there_is_named(
    results: Path, table: str, row: str, column: str, message: str
) -> None:
    with pytest.raises(SBSError, match=message):
        trace(results / table, row, column)
