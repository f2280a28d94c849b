"""Figure of what gates are worth and how often a search opened them."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from sbs.results.sensitivity import MEASURES

SIDES = {"weight_bits": "weights", "activation_bits": "inputs"}


def open_by_benefit(table: pd.DataFrame, correlations: pd.DataFrame) -> Figure:
    """One panel per method and measure, one point per tensor.

    Args:
        table: table of :func:`sbs.results.sensitivity.beside`.
        correlations: table of :func:`sbs.results.sensitivity.rank_correlations`; in the titles.
    """
    shown = table.melt(["method", "layer", "side", "open"], list(MEASURES), "measure")
    shown["side"] = shown["side"].map(SIDES)
    grid = sns.relplot(
        shown,
        x="value",
        y="open",
        hue="side",
        style="side",
        row="method",
        col="measure",
        height=2.6,
        aspect=1.5,
        facet_kws={"sharex": "col"},
    )
    found = correlations.set_index(["method", "measure"])
    for (method, measure), axis in grid.axes_dict.items():
        cell = found.loc[(method, measure)]
        axis.set_title(
            f"{cell['label']}: ρ = {cell['correlation']:.2f} "
            f"({cell['low']:.2f} to {cell['high']:.2f})",
            fontsize=9,
        )
        axis.axhline(0.5, color="grey", lw=0.6, ls="--")
        axis.set(xlabel=MEASURES[measure], ylabel="share of steps open")
    grid.legend.set_title("")
    figure: Figure = grid.figure
    return figure
