"""Figures drawn from run records."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from sbs.errors import SBSError
from sbs.methods.penalty import BAND
from sbs.provenance.records import RunRecord

COLOURS = "crest"


DIGITS = 6
"""Decimals of the axes' positions, which are shares of the figure's size."""


def save_svg(figure: Figure, path: str | Path) -> None:
    """Write a figure as SVG, without date or random names: equal figures give equal bytes."""
    with plt.rc_context({"svg.hashsalt": "sbs"}):
        _fix_layout(figure)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _fix_layout(figure: Figure) -> None:
    """Lay the figure out once and round the result.

    The last digits of matplotlib's layout differ from process to process. They are part of the
    names in the SVG.
    """
    figure.savefig(BytesIO(), format="svg")
    figure.set_layout_engine("none")
    for axis in figure.axes:
        position = axis.get_position(original=True)
        axis.set_position(Bbox(position.get_points().round(DIGITS)))


def search_trajectory(record: RunRecord) -> Figure:
    """Course of a search: cost and λ, bitwidths of every layer, kept filters.

    Args:
        record: record of a search; its ``trajectory`` has about sixty entries.

    Raises:
        SBSError: the record has no trajectory.
    """
    moments = record.trajectory
    if not moments:
        raise SBSError(f"{record.method} {record.network}: the record has no search trajectory")
    iterations = [moment["iteration"] for moment in moments]
    bitwidths = record.settings["search"]["bitwidths"]
    bits = bitwidths[0], bitwidths[-1]
    sides = {
        "weight bits": (_matrix(record, "weight_bits"), bits),
        "activation bits": (_matrix(record, "activation_bits"), bits),
        "kept filters (%)": (100 * _matrix(record, "kept_share"), (0, 100)),
    }
    shown = {name: side for name, side in sides.items() if not side[0].empty}
    heights = [6.0, *(len(matrix) + 2.0 for matrix, _ in shown.values())]
    figure, axes = plt.subplots(
        len(heights),
        1,
        figsize=(9, 1.2 + 0.16 * sum(heights)),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    panels = axes[:, 0]
    _cost_panel(panels[0], record, iterations)
    for axis, (name, (matrix, limits)) in zip(panels[1:], shown.items(), strict=True):
        _layer_panel(axis, name, matrix, limits)
    panels[-1].set_xlabel("iteration")
    figure.suptitle(f"{record.method} on {record.network}, {record.scale}, seed {record.seed}")
    return figure


def _matrix(record: RunRecord, key: str) -> pd.DataFrame:
    """Table with one row per layer and one column per recorded iteration."""
    columns = {moment["iteration"]: moment[key] for moment in record.trajectory}
    return pd.DataFrame(columns)


def _cost_panel(axis: Axes, record: RunRecord, iterations: list[int]) -> None:
    ratios = [moment["cost"] / record.trajectory[0]["cost"] for moment in record.trajectory]
    sns.lineplot(x=iterations, y=ratios, ax=axis, label="cost, of the start")
    if record.target is not None:
        top = record.target / record.trajectory[0]["cost"]
        axis.axhspan((1 - BAND) * top, top, color="tab:green", alpha=0.35, label="target")
    axis.set(yscale="log", xlim=(iterations[0], iterations[-1]), ylabel="cost")
    penalties = axis.twinx()
    values = [moment["penalty"] for moment in record.trajectory]
    sns.lineplot(x=iterations, y=values, ax=penalties, color="tab:orange", label="λ")
    penalties.set_ylabel("λ")
    handles = [*axis.get_legend_handles_labels()[0], *penalties.get_legend_handles_labels()[0]]
    for part in (axis, penalties):
        legend = part.get_legend()
        if legend is not None:
            legend.remove()
    penalties.legend(handles=handles, loc="upper right", frameon=False)


def _layer_panel(axis: Axes, name: str, matrix: pd.DataFrame, limits: tuple[float, float]) -> None:
    ticks = max(1, len(matrix.columns) // 8)
    sns.heatmap(
        matrix,
        ax=axis,
        cmap=COLOURS,
        vmin=limits[0],
        vmax=limits[1],
        rasterized=True,
        xticklabels=ticks,
        yticklabels=1 if len(matrix) <= 30 else 3,
        cbar_kws={"label": name},
    )
    axis.set(xlabel="", ylabel="")
    axis.tick_params(axis="y", labelsize=6)
