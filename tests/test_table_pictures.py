"""Tables as pictures: the numbers are those of the committed tables, and all text is readable."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy import stats

from sbs.plots.tables import WIDTH, draw_table
from sbs.plots.trajectory import save_svg
from tests.conftest import ROOT

MEASURED = ROOT / "results" / "measured"
AMOUNTS = {
    "table1": ("bops",),
    "table1_3bit": ("bops",),
    "table2": ("memory",),
    "table5": ("bops", "search_time", "search_memory"),
}
TABLES = [
    *(("digits", name) for name in AMOUNTS),
    *(("cifar100-short", name) for name in ("table1", "table1_3bit")),
]
SMALLEST = 8
"""Points that a reader of a phone still reads."""


def table_of(scale: str, name: str) -> pd.DataFrame:
    return pd.read_csv(MEASURED / scale / f"{name}.csv")


def drawn(table: pd.DataFrame, name: str = "table1") -> Figure:
    figure = draw_table(table, "Table", *AMOUNTS[name])
    plt.close(figure)
    return figure


def dots(axis: Axes) -> list[list[float]]:
    """Values of the panel's dots, in the order of the rows; measured ones come first."""
    return [list(line.get_xdata()) for line in axis.lines]


def expected(block: pd.DataFrame, *columns: str) -> list[object]:
    return [pytest.approx(block[column].to_numpy(), nan_ok=True) for column in columns]


def test_other_datasets_stand_apart_from_published_values() -> None:
    table = table_of("digits", "table1")
    axes = drawn(table).axes
    blocks = [block for _, block in table.groupby("network")]
    assert len(axes) == 3 * len(blocks)
    for block, panels in zip(blocks, (axes[:3], axes[3:]), strict=True):
        accuracy, published, cost = panels
        assert dots(accuracy) == expected(block, "top1_mean")
        assert dots(published) == expected(block, "published_top1")
        assert dots(cost) == expected(block, "bops_m")
        names = [tick.get_text().replace("\n", " ") for tick in accuracy.get_yticklabels()]
        assert names == list(block["label"])
    titles = [axis.get_title(loc="left") for axis in axes]
    assert titles == ["ResNet-20", "", "", "ResNet-56", "", ""]
    assert [axis.get_xlabel().replace("\n", " ") for axis in axes[3:]] == [
        "top-1 (%) measured on digits",
        "top-1 (%) published, CIFAR-100",
        "BOPs (M) (log scale)",
    ]


def test_published_values_of_the_same_dataset_stand_beside() -> None:
    table = table_of("cifar100-short", "table1")
    accuracy, cost = drawn(table).axes
    assert dots(accuracy) == expected(table, "top1_mean", "published_top1")
    assert dots(cost) == expected(table, "bops_m", "published_bops_m")
    above, below = (line.get_ydata() for line in accuracy.lines)
    assert all(above < below)


def test_bars_are_intervals_of_the_mean_and_one_run_has_none() -> None:
    table = table_of("cifar100-short", "table1")
    (bars,) = drawn(table).axes[0].collections
    several = table[table["seeds"] > 1]
    assert len(several) == len(table) - 1
    for segment, (_, row) in zip(bars.get_segments(), several.iterrows(), strict=True):
        error = row["top1_std"] / row["seeds"] ** 0.5
        interval = stats.t.interval(0.95, row["seeds"] - 1, row["top1_mean"], error)
        assert [end[0] for end in segment] == pytest.approx(interval)


def test_the_cost_is_printed_as_in_the_table() -> None:
    table = table_of("digits", "table2")
    *_, cost = drawn(table, "table2").axes
    printed = [text.get_text() for text in cost.texts]
    assert printed == [f"{value:.1f}" for value in table["memory_kb"]]


def test_close_costs_look_close() -> None:
    table = table_of("digits", "table5")
    cost = drawn(table, "table5").axes[2]
    low, high = cost.get_xlim()
    assert high / low > 4


def test_ratios_compare_between_datasets() -> None:
    table = table_of("digits", "table5")
    *_, time, memory = drawn(table, "table5").axes
    block = table[table["network"] == "resnet56"]
    both = ("search_hours_over_sharing", "published_hours_over_sharing")
    assert dots(time) == expected(block, *both)
    both = ("search_memory_over_sharing", "published_memory_over_sharing")
    assert dots(memory) == expected(block, *both)
    measured = [f"{ratio:.2f}" for ratio in block["search_hours_over_sharing"]]
    assert [text.get_text() for text in time.texts] == measured


def legend(figure: Figure) -> list[str]:
    return [text.get_text().partition(":")[0] for text in figure.legends[0].get_texts()]


def test_a_table_that_the_paper_does_not_have() -> None:
    table = table_of("digits", "table1")
    own = table[[column for column in table if not column.startswith("published")]]
    figure = drawn(own)
    assert len(figure.axes) == 2 * 2
    assert legend(figure) == ["measured"]
    assert legend(drawn(table)) == ["measured", "published"]


def test_sources_differ_in_colour_and_shape() -> None:
    measured, published = drawn(table_of("cifar100-short", "table1")).axes[0].lines
    assert measured.get_color() != published.get_color()
    assert measured.get_marker() != published.get_marker()


def seen(figure: Figure) -> list[Text]:
    """Texts of a picture, without the labels of ticks outside a panel."""
    outside = set()
    for axis in figure.axes:
        low, high = axis.get_xlim()
        labels = axis.get_xticklabels()
        outside |= {label for label in labels if not low <= label.get_position()[0] <= high}
    texts = set(figure.findobj(Text)) - outside
    return [text for text in texts if text.get_visible() and text.get_text()]


@pytest.mark.parametrize(("scale", "name"), TABLES)
def test_text_is_large_enough_whole_and_apart(scale: str, name: str, tmp_path: Path) -> None:
    figure = drawn(table_of(scale, name), name)
    save_svg(figure, tmp_path / "picture.svg")
    figure.draw_without_rendering()
    assert figure.get_figwidth() == WIDTH == 7
    boxes = {text: text.get_window_extent() for text in seen(figure)}
    assert min(text.get_fontsize() for text in boxes) >= SMALLEST
    for text, box in boxes.items():
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, text
    for (one, first), (other, second) in combinations(boxes.items(), 2):
        assert not first.overlaps(second), (one, other)


def test_the_picture_is_the_same_file_each_time(tmp_path: Path) -> None:
    table = table_of("digits", "table5")
    for name in ("a.svg", "b.svg"):
        save_svg(drawn(table, "table5"), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
