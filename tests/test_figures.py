"""Figures from the committed records: what they show, and that they are the same each time."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from sbs.errors import SBSError
from sbs.plots.rewards import reward_curve
from sbs.plots.theory import draw_error_bound
from sbs.plots.tradeoff import draw as draw_tradeoff
from sbs.plots.tradeoff import panels_of_figure4, points_of
from sbs.plots.trajectory import save_svg, search_trajectory
from sbs.provenance.records import RunRecord
from sbs.theory import error_bound
from tests.conftest import ROOT

MEASURED = ROOT / "results" / "measured" / "digits"


@pytest.fixture
def record() -> RunRecord:
    return RunRecord.load(MEASURED / "search/resnet20/sbs/default/seed-0/search.json")


def test_a_trajectory_has_a_panel_for_all_that_the_search_chooses(record: RunRecord) -> None:
    figure = search_trajectory(record)
    titles = " ".join(axis.get_title() + axis.get_ylabel() for axis in figure.axes)
    for shown in ("weight bits", "activation bits", "kept filters"):
        assert shown in titles
    plt.close(figure)


def test_a_record_without_a_trajectory_is_refused(record: RunRecord) -> None:
    with pytest.raises(SBSError, match="no search trajectory"):
        search_trajectory(record.model_copy(update={"trajectory": []}))


@pytest.fixture
def haq() -> RunRecord:
    return RunRecord.load(MEASURED / "search/resnet20/haq/default/seed-0/search.json")


def test_the_reward_curve_shows_every_episode_and_the_warm_up(haq: RunRecord) -> None:
    figure = reward_curve(haq)
    axis = figure.axes[0]
    rewards = [entry["reward"] for entry in haq.history]
    drawn = axis.collections[0].get_offsets()
    assert [point[1] for point in drawn] == pytest.approx(rewards)
    labels = axis.get_legend_handles_labels()[1]
    assert labels == [
        "an episode",
        "mean of the last 10",
        "warm-up: random policies",
        "best of the warm-up",
    ]
    plt.close(figure)


def test_a_record_without_rewards_is_refused(record: RunRecord) -> None:
    with pytest.raises(SBSError, match="no rewards"):
        reward_curve(record)


def figure4() -> Figure:
    runs = pd.read_csv(MEASURED / "runs" / "fig4.csv")
    panels = panels_of_figure4(runs)
    points = points_of(runs, pd.read_csv(ROOT / "config" / "published.csv"), panels, panels)
    return draw_tradeoff(points, panels, panels, "digits", "cifar100")


@pytest.mark.parametrize("name", ["trajectory", "fig2", "fig4"])
def test_a_figure_is_the_same_file_each_time(name: str, record: RunRecord, tmp_path: Path) -> None:
    draw = {
        "trajectory": lambda: search_trajectory(record),
        "fig2": lambda: draw_error_bound(error_bound.table()),
        "fig4": figure4,
    }[name]
    for path in ("a.svg", "b.svg"):
        figure = draw()
        save_svg(figure, tmp_path / path)
        plt.close(figure)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_the_last_digits_of_a_layout_do_not_matter(tmp_path: Path) -> None:
    """The solver of matplotlib's layout gives others in another process."""
    for path, error in (("a.svg", 0.0), ("b.svg", 1e-12)):
        figure = plt.figure()
        figure.add_axes((0.1 + error, 0.1, 0.8, 0.8)).plot([0, 1])
        save_svg(figure, tmp_path / path)
        plt.close(figure)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
