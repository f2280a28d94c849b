"""Figure 4: which runs stand in which panel, and the published points."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from sbs.plots.figure4 import draw_figure4, figure4_points
from sbs.results.collect import collect
from tests.conftest import ROOT
from tests.test_tables import record

PUBLISHED = pd.read_csv(ROOT / "config" / "published.csv")
RUNS = [
    ("fixed4", "default"),
    ("fixed3", "default"),
    ("dq", "low"),
    ("sbs", "default"),
    ("sbs", "bops-low"),
    ("sbs", "memory-low"),
]


@pytest.fixture
def points() -> pd.DataFrame:
    records = [
        record(network="resnet56", method=method, variant=variant, seed=seed, top1=90.0 + 2 * seed)
        for method, variant in RUNS
        for seed in (0, 1)
    ]
    others: list[dict[str, Any]] = [{"network": "resnet20"}, {"method": "sbs_p"}]
    records += [record(**({"network": "resnet56", "variant": "x"} | other)) for other in others]
    return figure4_points(collect(records), PUBLISHED)


def variants(points: pd.DataFrame, source: str, resource: str) -> set[tuple[str, str]]:
    panel = points[(points["source"] == source) & (points["resource"] == resource)]
    return set(zip(panel["method"], panel["variant"], strict=True))


def test_a_search_belongs_to_its_resource_and_others_to_both(points: pd.DataFrame) -> None:
    both = {("fixed4", "default"), ("fixed3", "default"), ("dq", "low")}
    bops = variants(points, "measured", "bops")
    assert bops == both | {("sbs", "default"), ("sbs", "bops-low")}
    assert variants(points, "measured", "memory") == both | {("sbs", "memory-low")}


def test_points_are_means_with_deviations(points: pd.DataFrame) -> None:
    measured = points[points["source"] == "measured"]
    assert set(measured["top1_mean"]) == {91.0}
    assert measured["top1_std"].tolist() == pytest.approx([2**0.5] * len(measured))
    costs = measured.groupby("resource")["cost_mean"].unique()
    assert costs["bops"].tolist() == [250.0]
    assert costs["memory"].tolist() == [2.0]


def test_published_points_are_the_tables_and_the_text(points: pd.DataFrame) -> None:
    published = points[points["source"] == "published"].set_index(["resource", "method", "variant"])
    assert published.loc[("bops", "sbs", "default"), "cost_mean"] == 1918.8
    assert published.loc[("bops", "sbs", "default"), "top1_mean"] == 71.6
    assert published.loc[("memory", "sbs", "default"), "cost_mean"] == 657.3
    text = published.xs("text", level="variant")
    assert text["cost_mean"].to_dict() == {
        ("bops", "fixed3"): 1156.46,
        ("bops", "sbs"): 783.52,
        ("memory", "fixed3"): 536.24,
        ("memory", "sbs"): 395.25,
    }
    assert text["top1_mean"].isna().all()


def test_the_drawing_names_what_it_shows(points: pd.DataFrame) -> None:
    figure = draw_figure4(points, "digits")
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["measured on digits"] * 2 + ["published, on CIFAR-100"] * 2
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    assert names == {
        *("fixed precision", "DQ", "HAQ", "DNAS", "SBS-Q", "SBS"),
        *("fixed precision: cost in the text", "SBS: cost in the text"),
    }
