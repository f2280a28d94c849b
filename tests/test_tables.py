"""From runs to the paper's tables."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from sbs.errors import SBSError
from sbs.results.collect import collect
from sbs.results.not_run import not_run
from sbs.results.published import quoted
from sbs.results.rendering import ONE_RUN, rendering
from sbs.results.rows import Row
from sbs.results.sample import what_ran
from sbs.results.tables import table5, table_of_runs
from tests.conftest import ROOT
from tests.records import record, runs_of_two_seeds, without_sharing

PUBLISHED = pd.read_csv(ROOT / "config" / "published.csv")


def table1(runs: pd.DataFrame) -> pd.DataFrame:
    return table_of_runs("table1", runs, PUBLISHED)


def test_a_reduction_is_that_of_the_mean_cost() -> None:
    records = runs_of_two_seeds()
    different = [r.model_copy(update={"bops": 100.0e6}) if r.seed == 1 else r for r in records]
    first = next(r for r in records if r.method == "sbs" and r.seed == 0)
    table = table1(collect(different))
    row = table[table["method"] == "sbs"].iloc[0]
    mean = (first.bops + 100.0e6) / 2
    assert row["bops_m"] == pytest.approx(mean / 1e6)
    assert row["bop_ratio"] == pytest.approx(first.full_precision_bops / mean)


def test_mean_and_sample_deviation_over_seeds() -> None:
    table = table1(collect(runs_of_two_seeds())).set_index("method")
    assert list(table.index) == ["fp", "fixed4", "sbs"]
    assert table.loc["sbs", "top1_mean"] == 92.0
    assert table.loc["sbs", "top1_std"] == pytest.approx(8**0.5)
    assert table.loc["sbs", "seeds"] == 2
    assert table.loc["sbs", "search_hours"] == pytest.approx(0.01)
    assert pd.isna(table.loc["fp", "top1_std"])


def test_share_of_the_search_that_the_authors_run() -> None:
    records = []
    for method in ("sbs", "dnas", "dq", "haq", "fixed4"):
        records += [record(method=method), record(method=method, stage="search")]
    shares = table1(collect(records)).set_index("method")["search_share"]
    assert shares["sbs"] == 6 / 30
    assert shares["dnas"] == 6 / 90
    assert shares["dq"] == 16 / 160
    assert shares["haq"] == pytest.approx(0.1 * 0.1)
    assert pd.isna(shares["fixed4"])


@pytest.mark.parametrize(
    ("method", "start", "epochs"),
    [
        ("sbs", "searched", 6 + 1),
        ("sbs", "pretrained", 1),
        ("dnas", "searched", 0.8 * 6 + 1),
        ("dq", "pretrained", 16 + 1),  # never starts from anything else than its own weights
        ("haq", "searched", 1),
        ("fixed4", "searched", 1),
    ],
)
def test_epochs_that_trained_the_network(method: str, start: str, epochs: float) -> None:
    settings = record().settings | {"finetune": {"start": start}}
    pair = [
        record(stage=stage, method=method, settings=settings) for stage in ("search", "finetune")
    ]
    assert table1(collect(pair))["trained_epochs"].item() == pytest.approx(epochs)


def test_variants_can_have_rows_of_their_own() -> None:
    variants = {
        ("sbs", "group-8"): Row("sbs_group8", "SBS, B = 8"),
        ("sbs", "default"): Row("sbs_group4", "SBS, B = 4"),
    }
    tops = {"default": 91.0, "group-8": 90.0}
    records = [record(variant=variant, top1=top1) for variant, top1 in tops.items()]
    records.append(record(method="dq", top1=80.0))
    table = table_of_runs("table9", collect(records), PUBLISHED, variants)
    shown = table[["method", "label", "run_method", "variants", "top1_mean", "published_top1"]]
    assert shown.fillna(0).to_numpy().tolist() == [
        ["dq", "DQ", "dq", "default", 80.0, 0],
        ["sbs_group8", "SBS, B = 8", "sbs", "group-8", 90.0, 67.9],
        ["sbs_group4", "SBS, B = 4", "sbs", "default", 91.0, 68.1],
    ]


def test_rows_within_the_noise_share_a_letter() -> None:
    samples = {"sbs": (90.0, 91.0, 92.0), "sbs_q": (90.5, 91.5, 91.0), "dq": (80.0, 80.5, 81.0)}
    records = [record(stage="pretrain", method="fp", top1=95.0)]
    for method, values in samples.items():
        records += [record(method=method, seed=n, top1=value) for n, value in enumerate(values)]
    table = table1(collect(records))
    groups = table.set_index("method")["top1_groups"]
    assert groups.to_dict() == {"fp": "", "dq": "b", "sbs_q": "a", "sbs": "a"}
    text = rendering(table, "Table 1", "bops")
    lines = {line.split("|")[2].strip(): line for line in text.splitlines() if "resnet20" in line}
    assert f"| {ONE_RUN} " in lines["Full-precision"]
    assert re.search(r"\| a +\|", lines["SBS"])
    assert f"A row of {ONE_RUN} is not compared." in text


def test_a_table_of_single_runs_has_no_groups() -> None:
    text = rendering(table1(collect([record(), record(method="dq")])), "Table 1", "bops")
    assert "top-1 group" not in text.split("Top-1 group")[0]


def test_published_columns_are_the_papers_cells() -> None:
    in_table = PUBLISHED[PUBLISHED["table"] == "table1"]
    order = ["fp", "fixed4", "dq", "haq", "dnas", "sbs_p", "sbs_q", "sbs"]
    assert set(order) == set(in_table["method"])
    records = [
        record(stage="finetune", network=network, method=method)
        for network in ("resnet20", "resnet56")
        for method in reversed(order)
    ]
    table = table1(collect(records))
    cells = {"bops_m", "bop_ratio", "top1", "top5"}
    for _, row in in_table.iterrows():
        mine = table[(table["network"] == row["network"]) & (table["method"] == row["method"])]
        column = "search_titan_xp_hours" if row["metric"] not in cells else row["metric"]
        assert mine[f"published_{column}"].item() == row["value"]
        if not pd.isna(row["std"]):
            assert mine[f"published_{column}_std"].item() == row["std"]
    assert list(table["method"]) == [*order, *order]


def test_a_network_is_found_under_its_published_name() -> None:
    table = table_of_runs("tableI", collect([record(network="mobilenet_v3")]), PUBLISHED)
    assert table["published_top1"].notna().all()


def test_table_2_compares_memory() -> None:
    searched = [("sbs", "memory"), ("dq", "default"), ("fixed4", "default")]
    records = [record(network="resnet56", method=m, variant=v) for m, v in searched]
    records += [record(network="resnet56", stage="pretrain", method="fp")]
    table = table_of_runs("table2", collect(records), PUBLISHED)
    assert list(table["method"]) == ["fp", "fixed4", "dq", "sbs"]
    assert table["memory_kb"].tolist() == [2.0] * 4
    assert table["published_memory_kb"].tolist() == [5653.4, 711.7, 723.2, 657.3]
    text = rendering(table, "Table 2", "memory")
    assert "memory (KB)" in text
    assert "BOPs" not in text
    assert "by the clock: other work on the machine is in it" in text


def test_tables_of_imagenet_say_so() -> None:
    records = [record(network="resnet18", method="fixed4")]
    records += [record(network="resnet18", stage="pretrain", method="fp")]
    table = table_of_runs("table3", collect(records), PUBLISHED)
    assert table["published_bops_m"].tolist() == [1_857_600, 34_700]
    text = rendering(table, "Table 3", "bops")
    assert "published on ImageNet: the two do not compare" in text


def test_two_variants_in_one_row_are_refused() -> None:
    runs = collect([record(), record(variant="bops-low")])
    with pytest.raises(SBSError, match=r"several variants of resnet20 sbs .*: bops-low, default"):
        table1(runs)


def test_table_5_sets_paths_against_bit_sharing() -> None:
    records = [record(stage="pretrain", method="fp")]
    for make, hours, memory in ((record, 0.5, 200), (without_sharing, 1.5, 500)):
        changes = {"method": "sbs_q"} if make is record else {}
        records.append(make(**changes))
        searched = {"device_hours": hours, "peak_memory_bytes": memory}
        records.append(make(stage="search", **changes, **searched))
    table = table5(collect(records), PUBLISHED)
    text = rendering(table, "Table 5", "bops")
    assert "# Table 5 at the scale `digits`" in text
    assert "| SBS-Q without bit sharing |" in text
    rows = table.set_index("method")
    assert list(rows.index) == ["sbs_q", "sbs_q_without_sharing"]
    apart = rows.loc["sbs_q_without_sharing"]
    assert apart["search_hours_over_sharing"] == 3
    assert apart["search_memory_over_sharing"] == 2.5
    assert apart["published_hours_over_sharing"] == pytest.approx(2.8 / 0.8)
    assert apart["published_memory_over_sharing"] == pytest.approx(4.4 / 1.5)


def test_what_a_run_is_follows_from_its_settings() -> None:
    records = []
    for method in ("sbs", "dq", "fixed4"):
        records += [record(method=method), record(method=method, stage="search")]
    runs = collect([*records, record(method="fp", stage="pretrain")]).set_index("method")
    assert runs["resource"].dropna().to_dict() == {"sbs": "bops"}
    assert runs["bit_sharing"].isna().to_dict() == {
        "dq": False,
        "fixed4": False,
        "fp": True,
        "sbs": False,
    }


@pytest.mark.parametrize(
    ("scale", "dataset", "words"),
    [
        ("digits", "digits", "the two do not compare"),
        ("cifar100-short", "cifar100", "shortened schedules of `config/cifar100-short.yaml`"),
    ],
)
def test_the_rendering_says_its_scale(scale: str, dataset: str, words: str) -> None:
    runs = collect([record(scale=scale, dataset=dataset, seed=seed) for seed in (0, 1)])
    text = rendering(table1(runs), "Table 1", "bops")
    assert f"at the scale `{scale}`" in text
    assert words in text
    assert "90.00 ± 0.00 (2)" in text
    assert "68.1 ± 0.3" in text


def test_the_table_of_a_sample_has_times_and_costs_and_no_accuracy() -> None:
    runs = pd.read_csv(ROOT / "results" / "measured" / "digits" / "runs" / "table6.csv")
    table = what_ran(runs)
    assert len(table) == len(runs)
    assert not [name for name in table if "top" in name]
    energy = table[table["target of"] == "bitfusion-energy"]
    found = runs[runs["resource"].eq("bitfusion-energy") & runs["target"].notna()]
    assert sorted(energy["energy (mJ)"]) == pytest.approx(sorted(1000 * found["energy_joules"]))
    assert set(table["method"]) >= {"SBS", "Random bits"}


def test_methods_that_the_paper_quotes_are_those_that_are_not_run() -> None:
    found = quoted(PUBLISHED, "table4").set_index(["network", "method"])
    assert set(found.index) == {
        *(("resnet18", name) for name in ("bayesian_bits", "djpq", "hawq")),
        ("mobilenetv2", "bayesian_bits"),
    }
    assert found["top1"].notna().all()
    assert quoted(PUBLISHED, "table3").empty
    assert quoted(PUBLISHED, "table6").empty


def test_rows_of_networks_that_were_not_run_have_their_exact_costs() -> None:
    rows = {("sbs", "eight"): Row("sbs_8bit_level", "SBS, 8-bit level")}
    text = not_run(pd.DataFrame({"network": ["resnet20"]}), PUBLISHED, "table3", rows)
    assert "## Not run at this scale" in text
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    found = {tuple(line[:2]): line[2:] for line in lines if len(line) > 2}
    assert found["Network", "Method"] == [
        *("BOPs (G)", "published BOPs (G)", "published top-1 (%)", "published top-5 (%)")
    ]
    assert found["resnet50", "4-bit precision"] == ["71.19", "71.2", "75.7", "92.7"]
    assert found["resnet18", "SBS, 8-bit level"] == ["–", "108.4", "70.3", "89.4"]
    assert len(found) == 2 * 7 + 2


def test_a_table_whose_networks_were_all_run_has_no_such_rows() -> None:
    run = pd.DataFrame({"network": ["resnet18", "mobilenet_v2"]})
    assert not_run(run, PUBLISHED, "table4") == ""
    assert "mobilenetv2" not in not_run(run, PUBLISHED, "table3")
    assert "djpq" not in not_run(pd.DataFrame({"network": ["resnet20"]}), PUBLISHED, "table4")
