"""Draw Figures 2 and 3."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def draw_error_bound(table: pd.DataFrame) -> Figure:
    """Figure 2: change of the quantization error, and its bound, by bitwidth.

    Args:
        table: table of :func:`sbs.theory.error_bound.table`.
    """
    figure, axis = plt.subplots(figsize=(5, 4), layout="constrained")
    for column, label in (("bound", "C / (2^bK - 1)"), ("change", "|ε_K - ε_(K+1)|")):
        sns.lineplot(
            table, x="bits", y=column, ax=axis, marker="o", errorbar=("pi", 100), label=label
        )
    bits = sorted(table["bits"].unique())
    axis.set(xlabel="bitwidth b_K", ylabel="normalised quantization error", yscale="log")
    axis.set(xscale="log", xticks=bits, xticklabels=bits)
    axis.minorticks_off()
    axis.set_title(f"{table['seed'].nunique()} seeds: mean, and their whole range")
    return figure


def draw_convergence(curves: pd.DataFrame, seeds: int) -> Figure:
    """Figure 3: loss by iteration, and its excess over the best loss; one column per rate.

    Args:
        curves: table of :func:`sbs.theory.convergence.curves`.
        seeds: number of seeds in the mean.
    """
    rates = sorted(curves["learning_rate"].unique())
    figure, axes = plt.subplots(
        2,
        len(rates),
        figsize=(3.2 * len(rates), 6),
        sharex=True,
        sharey="row",
        layout="constrained",
        squeeze=False,
    )
    for column, rate in enumerate(rates):
        for scheme, curve in curves[curves["learning_rate"] == rate].groupby("scheme", sort=False):
            deviation = curve["std"]
            band = curve["mean"] - deviation, curve["mean"] + deviation
            _curve(axes[0, column], curve["iteration"], curve["mean"], band, str(scheme))
            band = curve["excess_low"], curve["excess_high"]
            _curve(axes[1, column], curve["iteration"], curve["excess"], band, str(scheme))
        axes[0, column].set_title(f"learning rate {rate:g}")
        axes[1, column].set(xlabel="iteration", yscale="log", ylim=(1e-6, None))
    axes[0, 0].set_ylabel("mean squared error:\nmean and deviation")
    axes[1, 0].set_ylabel("above the best quantized:\nmedian and deciles")
    axes[0, -1].legend(frameon=False)
    figure.suptitle(f"Toy regression over {seeds} seeds")
    return figure


def _curve(
    axis: Axes, x: pd.Series, y: pd.Series, band: tuple[pd.Series, pd.Series], label: str
) -> None:
    (line,) = axis.plot(x, y, label=label, linewidth=1)
    axis.fill_between(x, *band, color=line.get_color(), alpha=0.2)
