"""Figures 2 and 3."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure


def draw_error_bound(table: pd.DataFrame) -> Figure:
    """Figure 2: change of the quantization error and its bound against the bitwidth.

    Args:
        table: of :func:`sbs.theory.error_bound.table`.
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
    """Figure 3: loss against iteration, a panel a learning rate.

    Args:
        curves: of :func:`sbs.theory.convergence.curves`.
        seeds: how many they are the mean of.
    """
    rates = sorted(curves["learning_rate"].unique())
    figure, axes = plt.subplots(
        1, len(rates), figsize=(3.2 * len(rates), 3.4), sharey=True, layout="constrained"
    )
    for axis, rate in zip(axes, rates, strict=True):
        for scheme, curve in curves[curves["learning_rate"] == rate].groupby("scheme", sort=False):
            (line,) = axis.plot(curve["iteration"], curve["mean"], label=scheme, linewidth=1)
            low, high = curve["mean"] - curve["std"], curve["mean"] + curve["std"]
            axis.fill_between(curve["iteration"], low, high, color=line.get_color(), alpha=0.2)
        axis.set(xlabel="iteration", title=f"learning rate {rate:g}", yscale="log")
    axes[0].set_ylabel("mean squared error")
    axes[-1].legend(frameon=False)
    figure.suptitle(f"Toy regression: mean and standard deviation over {seeds} seeds")
    return figure
