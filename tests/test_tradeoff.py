"""Figures 4 and 5: which runs stand in which panel, and the published points."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from sbs.errors import SBSError
from sbs.plots.tradeoff import draw, panels_of_figure4, panels_of_figure5, points_of
from sbs.provenance.records import RunRecord
from sbs.results.collect import collect
from tests.conftest import ROOT
from tests.records import record

PUBLISHED = pd.read_csv(ROOT / "config" / "published.csv")
RUNS = [
    ("fixed4", "default", "bops"),
    ("fixed3", "default", "bops"),
    ("dq", "low", "bops"),
    ("sbs", "default", "bops"),
    ("sbs", "cheap", "bops"),
    ("sbs", "small", "memory"),
]


@pytest.fixture
def points() -> pd.DataFrame:
    runs = collect(records())
    panels = panels_of_figure4(runs)
    return points_of(runs, PUBLISHED, panels, panels)


def records() -> list[RunRecord]:
    """Runs and searches of all of RUNS, two seeds each, and of methods without a line."""
    found = [record(network="resnet56", stage="pretrain", method="fp", variant="default")]
    for method, variant, resource in [*RUNS, ("sbs_p", "x", "bops")]:
        settings = record().settings
        settings["search"] |= {"resource": resource}
        for seed in (0, 1):
            facts: dict[str, Any] = {"method": method, "variant": variant, "seed": seed}
            facts |= {"network": "resnet56", "settings": settings, "top1": 90.0 + 2 * seed}
            found += [record(stage=stage, **facts) for stage in ("search", "finetune")]
    return found


def variants(points: pd.DataFrame, source: str, resource: str) -> set[tuple[str, str]]:
    panel = points[(points["source"] == source) & (points["resource"] == resource)]
    return set(zip(panel["method"], panel["variant"], strict=True))


def test_a_search_belongs_to_its_resource_and_others_to_both(points: pd.DataFrame) -> None:
    both = {("fixed4", "default"), ("fixed3", "default"), ("dq", "low")}
    bops = variants(points, "measured", "bops")
    assert bops == both | {("sbs", "default"), ("sbs", "cheap")}
    assert variants(points, "measured", "memory") == both | {("sbs", "small")}


def test_two_networks_in_one_figure_are_refused() -> None:
    runs = collect([record(), record(network="resnet56")])
    with pytest.raises(SBSError, match="one network, not resnet20, resnet56; give fig4 to"):
        panels_of_figure4(runs)


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
    panels = panels_of_figure4(collect(records()))
    figure = draw(points, panels, panels, "digits", "cifar100")
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [
        *["ResNet-56, measured on digits"] * 2,
        *["ResNet-56, published, on CIFAR-100"] * 2,
    ]
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    assert names == {
        *("fixed precision", "DQ", "HAQ", "DNAS", "SBS-Q", "SBS"),
        *("fixed precision: cost in the text", "SBS: cost in the text"),
    }


def test_figure_5_shows_the_runs_above_the_networks_of_the_paper() -> None:
    names, stages = ("resnet20", "resnet56"), ("search", "finetune")
    runs = collect([record(network=name, stage=stage) for name in names for stage in stages])
    panels, paper = map(panels_of_figure5, (runs, PUBLISHED[PUBLISHED["table"] == "table3"]))
    assert [panel.network for panel in paper] == ["resnet18", "resnet50"]
    points = points_of(runs, PUBLISHED, panels, paper)
    published = points[points["source"] == "published"]
    published = published.set_index(["network", "method", "variant"])["cost_mean"]
    assert published["resnet18", "sbs_q", "eight"] == pytest.approx(114300)
    assert published["resnet50", "sbs", "default"] == pytest.approx(70400)
    titles = [axis.get_title() for axis in draw(points, panels, paper, "digits", "imagenet").axes]
    assert titles[2:] == ["ResNet-18, published, on ImageNet", "ResNet-50, published, on ImageNet"]
