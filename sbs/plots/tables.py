"""A table of methods as a picture: a row per method, a panel per quantity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from sbs.registry.datasets import dataset
from sbs.registry.networks import network
from sbs.results.published import dataset_in_paper
from sbs.results.rendering import COSTS, number
from sbs.results.statistics import CONFIDENCE, mean_reach

WIDTH, ROW, AROUND, FRAME = 7.0, 0.33, 0.55, 1.2
"""In inches: of the figure; heights of a method, around the methods of a network, of the rest."""

TEXT = 9
"""Size in points of all text but titles."""

TICKS = 12
"""So many ticks would fit if a panel were as wide as all panels."""

NAME = 16
"""A longer name of a method gets two lines."""

APART = 0.17
"""Measured and published dots stand so far above and below the middle of a row."""

MARGIN = 2.0
"""Scales of amounts reach this factor beyond the values, so that close ones look close."""

MEASURED, PUBLISHED = "measured", "published"
BLUE, ORANGE, *_ = sns.color_palette("colorblind")
STYLES: Mapping[str, dict[str, Any]] = {
    MEASURED: {"color": BLUE, "marker": "o", "ls": "", "ms": 6},
    PUBLISHED: {"color": ORANGE, "marker": "D", "ls": "", "ms": 6},
}


@dataclass(frozen=True)
class Amount:
    """A quantity that is not an accuracy.

    Attributes:
        label: name of its panel.
        column: column of the table.
        published: column of the paper's values.
        digits: decimals of the printed values.
        relative: whether it is a ratio, which also compares between datasets.
    """

    label: str
    column: str
    published: str
    digits: int = 1
    relative: bool = False


AMOUNTS: Mapping[str, Amount] = {
    **{
        name: Amount(shown.heading, shown.cost, f"published_{shown.cost}", shown.digits)
        for name, shown in COSTS.items()
    },
    "search_time": Amount(
        "search time\nover sharing",
        *("search_hours_over_sharing", "published_hours_over_sharing"),
        digits=2,
        relative=True,
    ),
    "search_memory": Amount(
        "search memory\nover sharing",
        *("search_memory_over_sharing", "published_memory_over_sharing"),
        digits=2,
        relative=True,
    ),
}
"""What a picture can show beside the accuracy."""


@dataclass(frozen=True)
class _Panel:
    """A column of the picture.

    Attributes:
        label: what it shows.
        width: its share of the width of all panels.
        columns: columns of the table by source.
        amount: what it shows; None for top-1.
    """

    label: str
    width: float
    columns: Mapping[str, str]
    amount: Amount | None = None


def draw_table(table: pd.DataFrame, title: str, *amounts: str) -> Figure:
    """Top-1 accuracy and further quantities of every method; a block of rows for each network.

    Bars are confidence intervals of the mean over seeds; a single run has none. Published
    accuracies and costs stand beside measured ones only if both are of the same dataset. Else
    published accuracies have a panel of their own.

    Args:
        table: table of :func:`sbs.results.tables.table_of_runs`.
        title: heading.
        amounts: what to show beside the accuracy: keys of :data:`AMOUNTS`.
    """
    blocks = list(table.groupby("network", sort=False))
    panels = _panels(table, [AMOUNTS[name] for name in amounts])
    counts = [len(block) for _, block in blocks]
    figure, axes = plt.subplots(
        len(blocks),
        len(panels),
        figsize=(WIDTH, ROW * sum(counts) + AROUND * len(blocks) + FRAME),
        height_ratios=counts,
        width_ratios=[panel.width for panel in panels],
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for row, (name, block) in zip(axes, blocks, strict=True):
        for axis, panel in zip(row, panels, strict=True):
            _draw_panel(axis, panel, block)
        _name_rows(row[0], block["label"])
        row[0].set_title(network(str(name)).label, loc="left", fontsize=TEXT + 1, weight="bold")
    for axis, panel in zip(axes[-1], panels, strict=True):
        axis.set_xlabel(panel.label, fontsize=TEXT)
    figure.suptitle(f"{title}, scale {table['scale'].iloc[0]}")
    style: dict[str, Any] = {"ncols": 2, "frameon": False, "fontsize": TEXT}
    figure.legend(handles=list(_legend(panels)), loc="outside lower center", **style)
    return figure


def _panels(table: pd.DataFrame, amounts: Sequence[Amount]) -> list[_Panel]:
    """The panels that have values in this table."""
    known = [
        replace(panel, columns={k: v for k, v in panel.columns.items() if v in table})
        for panel in _possible_panels(table["dataset"].iloc[0], dataset_in_paper(table), amounts)
    ]
    shown = [panel for panel in known if panel.columns]
    whole = sum(panel.width for panel in shown)
    return [replace(panel, width=panel.width / whole) for panel in shown]


def _possible_panels(name: str, in_paper: str, amounts: Sequence[Amount]) -> Iterator[_Panel]:
    measured, published = {MEASURED: "top1_mean"}, {PUBLISHED: "published_top1"}
    paper = dataset(in_paper).label
    if name == in_paper:
        yield _Panel(f"top-1 (%)\non {paper}", 3, measured | published)
    else:
        yield _Panel(f"top-1 (%)\nmeasured on {dataset(name).label}", 2, measured)
        yield _Panel(f"top-1 (%)\npublished,\n{paper}", 1.2, published)
    for amount in amounts:
        columns = {MEASURED: amount.column}
        if amount.relative or name == in_paper:
            columns[PUBLISHED] = amount.published
        yield _Panel(f"{amount.label}\n(log scale)", 0.9, columns, amount)


def _draw_panel(axis: Axes, panel: _Panel, block: pd.DataFrame) -> None:
    for place, (source, column) in enumerate(panel.columns.items()):
        middles = pd.Series(range(len(block)), block.index, dtype=float)
        rows = middles + APART * (2 * place - len(panel.columns) + 1)
        axis.plot(block[column], rows, **STYLES[source])
        if source == MEASURED and panel.amount is None:
            _draw_intervals(axis, block, rows)
    if panel.amount is None:
        axis.margins(x=0.1)
        ticks = round(TICKS * panel.width)
        axis.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10]))
    else:
        _scale(axis, block[list(panel.columns.values())])
        _print_values(axis, block, panel.amount)
    axis.tick_params(labelsize=TEXT, color="0.8")
    axis.tick_params(axis="y", length=0)
    axis.grid(color="0.88", lw=0.8)
    axis.set_axisbelow(True)
    sns.despine(ax=axis, left=True, bottom=True)


def _draw_intervals(axis: Axes, block: pd.DataFrame, rows: pd.Series) -> None:
    reach = pd.Series(map(mean_reach, block["top1_std"], block["seeds"]), block.index)
    known = reach.notna()
    axis.errorbar(
        block.loc[known, "top1_mean"],
        rows[known],
        xerr=reach[known],
        fmt="none",
        ecolor=STYLES[MEASURED]["color"],
        elinewidth=1.6,
    )


def _scale(axis: Axes, values: pd.DataFrame) -> None:
    """A logarithmic scale around the values. It has no ticks: the values are printed."""
    axis.set_xscale("log")
    numbers = values.to_numpy(dtype=float)
    known = numbers[np.isfinite(numbers)]
    if known.size:
        axis.set_xlim(known.min() / MARGIN, known.max() * MARGIN)
    axis.xaxis.set_major_locator(NullLocator())
    axis.xaxis.set_minor_locator(NullLocator())


def _print_values(axis: Axes, block: pd.DataFrame, amount: Amount) -> None:
    """The measured values, right of the panel."""
    for row, value in enumerate(block[amount.column]):
        axis.annotate(
            number(value, amount.digits),
            (1.03, row),
            xycoords=axis.get_yaxis_transform(),
            va="center",
            fontsize=TEXT,
        )


def _name_rows(axis: Axes, names: pd.Series) -> None:
    axis.set_yticks(range(len(names)), names.map(_in_two_lines))
    axis.set_ylim(len(names) - 0.5, -0.5)


def _in_two_lines(name: str) -> str:
    return fill(name, len(name) // 2 + 3) if len(name) > NAME else name


def _legend(panels: Sequence[_Panel]) -> Iterator[Artist]:
    interval = f"{100 * CONFIDENCE:.0f} % interval over seeds (one run: no bar)"
    texts = {MEASURED: f"measured: mean, {interval}", PUBLISHED: "published"}
    shown = {source for panel in panels for source in panel.columns}
    for source, text in texts.items():
        if source in shown:
            yield Line2D([], [], label=text, **STYLES[source])
