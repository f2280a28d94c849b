"""From run records to one tidy table, and how searches ended."""

from __future__ import annotations

from pathlib import Path
from statistics import stdev

import pandas as pd
import pytest

from sbs.errors import SBSError
from sbs.provenance.records import RunRecord
from sbs.results.collect import collect, write_runs
from sbs.results.landing import ALL, landing_table
from sbs.results.rendering import rendering
from sbs.results.tables import table_of_runs
from tests.conftest import ROOT
from tests.records import record, runs_of_two_seeds


def test_a_row_a_run_with_the_cost_of_its_search() -> None:
    runs = collect(runs_of_two_seeds())
    assert list(zip(runs["method"], runs["seed"], strict=True)) == [
        ("fixed4", 0),
        ("fixed4", 1),
        ("fp", 0),
        ("sbs", 0),
        ("sbs", 1),
    ]
    sbs = runs[runs["method"] == "sbs"]
    assert sbs["search_seconds"].tolist() == [36.0, 36.0]
    assert sbs["bop_ratio"].tolist() == [4.0, 4.0]
    # Nothing is searched for fixed precision and for pretraining.
    assert runs[runs["method"] != "sbs"]["search_seconds"].isna().all()


def test_records_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(SBSError, match="several scales in one table: cifar100, digits"):
        collect([record(), record(scale="cifar100", seed=1)])
    with pytest.raises(SBSError, match="two finetune records of the run resnet20 sbs default 0"):
        collect([record(), record()])


def test_records_survive_the_way_through_files(tmp_path: Path) -> None:
    paths = []
    for number, one in enumerate(runs_of_two_seeds()):
        paths.append(tmp_path / f"{number}.json")
        one.save(paths[-1])
        assert RunRecord.load(paths[-1]) == one
    write_runs(paths, tmp_path / "runs.csv")
    text = (tmp_path / "runs.csv").read_text()
    assert text == collect(runs_of_two_seeds()).to_csv(index=False)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text('{"stage": "finetune"}')
    with pytest.raises(SBSError, match=rf"{path}: not a run record"):
        RunRecord.load(path)


def test_how_searches_ended() -> None:
    def searched(seed: int, flips: int, costs: list[float]) -> RunRecord:
        points = [{"iteration": i, "settled_cost": cost} for i, cost in enumerate(costs)]
        facts = {"target": 100.0, "found_cost": costs[-1], "landing_flips": flips}
        return record(stage="search", seed=seed, trajectory=points, **facts)

    steady, restless = [200.0] * 9 + [98.0] * 2, [200.0] * 8 + [90.0, 100.0, 110.0]
    runs = collect(
        [record(seed=0), record(seed=1), searched(0, 0, steady), searched(1, 3, restless)]
    )
    assert runs["found_over_target"].tolist() == [0.98, 1.1]
    expected = [stdev([200.0, 98.0, 98.0]) / 132, 0.1]  # of the points 8 to 10
    assert runs["settled_variation"].tolist() == pytest.approx(expected)
    table = table_of_runs("table1", runs, pd.read_csv(ROOT / "config" / "published.csv"))
    assert table["landed_share"].item() == 0.5
    assert "| 50 " in rendering(table, "Table 1", "bops")
    summary = landing_table(runs).set_index("network")
    for row in ("resnet20", ALL):
        counts = summary.loc[row, ["searches", "in_band", "steady", "most_flips"]]
        assert counts.tolist() == [2, 50.0, 0.0, 3]
    assert landing_table(runs.assign(landing_flips=None)).empty


def test_the_summary_of_landings_counts_all_variants_of_a_method() -> None:
    def searched(variant: str, flips: int) -> RunRecord:
        points = [{"iteration": i, "settled_cost": 98.0} for i in range(10)]
        facts = {"target": 100.0, "found_cost": 98.0, "landing_flips": flips}
        return record(stage="search", variant=variant, trajectory=points, **facts)

    variants = {"default": 0, "three": 2}
    runs = collect(
        [record(variant=variant) for variant in variants]
        + [searched(variant, flips) for variant, flips in variants.items()]
    )
    summary = landing_table(runs).set_index("network")
    assert summary.loc["resnet20", ["searches", "in_band"]].tolist() == [2, 50.0]
