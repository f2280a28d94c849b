"""Figures 6, 7 and II to VI: the searched configuration of a network, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from sbs.errors import SBSError
from sbs.policy import FULL_PRECISION
from sbs.registry.methods import methods
from sbs.registry.networks import network
from sbs.results.rows import label

SEARCH = ["network", "method", "variant"]
BITS = {"weight_bits": "weight bits", "activation_bits": "input bits"}
PRUNED = "pruned"
WIDTH, PANEL_HEIGHT = 7.0, 1.25
"""In inches."""

SPREAD = 0.25
"""Seeds are drawn apart over this part of an octave of bits, or twice that of a layer's width."""

TICKS = 4
"""So many bitwidths at most have a tick each; beyond, powers of two have one."""

MEAN, SEED = sns.color_palette("colorblind")[0], "0.25"
BANDS: tuple[dict[str, Any], ...] = (
    {"facecolor": "#f5dfb3"},
    {"facecolor": "#cfcfcf", "edgecolor": "white", "hatch": "///"},
)


def draw_configurations(table: pd.DataFrame) -> Figure:
    """A block of panels for each network, method and variant, with every seed and their mean.

    A block has a panel for the bits of weights, one for those of inputs and one for the pruned
    filters, as far as its method chooses them.

    Args:
        table: table of :func:`sbs.results.configurations.configurations`.

    Raises:
        SBSError: a method neither quantizes nor prunes.
    """
    blocks = [(block, _sides(block)) for _, block in table.groupby(SEARCH, sort=False)]
    kernels = sorted(set(table.loc[table["downsampling"], "kernel"]), reverse=True)
    bits = sorted(set(table[list(BITS)].to_numpy().flat) - {FULL_PRECISION})
    count = sum(len(sides) for _, sides in blocks)
    figure, axes = plt.subplots(
        count, 1, figsize=(WIDTH, 0.6 + PANEL_HEIGHT * count), layout="constrained", squeeze=False
    )
    remaining = iter(axes[:, 0])
    for block, sides in blocks:
        panels = dict(zip(sides, islice(remaining, len(sides)), strict=True))
        _draw_block(block, panels, kernels, bits)
    figure.align_ylabels()
    figure.legend(handles=_legend(kernels), loc="outside upper center", ncols=4, frameon=False)
    return figure


def _sides(block: pd.DataFrame) -> list[str]:
    """Columns of a block that its method chooses; all for a method that is not installed."""
    name = block["method"].iloc[0]
    known = methods().get(name)
    sides = list(BITS) if known is None or known.quantizes else []
    sides += [PRUNED] if known is None or known.filters else []
    if not sides:
        raise SBSError(
            f"{name} chooses neither bits nor filters; remove configurations from its rows "
            "(column tables of config/experiments.tsv)"
        )
    return sides


def _draw_block(
    block: pd.DataFrame, panels: dict[str, Axes], kernels: Sequence[str], bits: Sequence[int]
) -> None:
    layers = block.drop_duplicates("layer")
    for side, axis in panels.items():
        _mark_downsampling(axis, layers, kernels)
        values = block.pivot(index="position", columns="seed", values=side)
        if side == PRUNED:
            _draw_pruned(axis, values)
        else:
            _draw_bits(axis, values, bits)
        axis.set(xlim=(0.5, len(layers) + 0.5), ylabel=BITS.get(side, "pruned (%)"))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axis.tick_params(labelbottom=False)
    axes = list(panels.values())
    axes[0].set_title(_title(block), loc="left")
    axes[-1].tick_params(labelbottom=True)
    axes[-1].set_xlabel("layer, in forward order")


def _title(block: pd.DataFrame) -> str:
    first, seeds = block.iloc[0], block["seed"].nunique()
    variant = "" if first["variant"] == "default" else f" ({first['variant']})"
    runs = "1 seed" if seeds == 1 else f"{seeds} seeds"
    return f"{label(first['method'])}{variant} on {network(first['network']).label}, {runs}"


def _draw_bits(axis: Axes, values: pd.DataFrame, bits: Sequence[int]) -> None:
    """The mean of the seeds as a thick step, and each seed as thin lines, a little apart.

    Args:
        axis: the panel.
        values: bitwidths; one row per layer, one column per seed.
        bits: bitwidths of all panels, ascending; they get the same scale.
    """
    edges = np.arange(len(values) + 1) + 0.5
    axis.stairs(values.mean(axis=1), edges, baseline=None, color=MEAN, lw=2.4, alpha=0.8)
    for shift, seed in zip(_shifts(values), values, strict=True):
        axis.hlines(values[seed] * 2**shift, edges[:-1], edges[1:], color=SEED, lw=0.7)
    axis.set_yscale("log", base=2)
    axis.set_ylim(bits[0] / 1.4, bits[-1] * 1.4)
    axis.yaxis.set_major_formatter("{x:g}")
    if len(bits) <= TICKS:
        axis.set_yticks(bits)


def _draw_pruned(axis: Axes, values: pd.DataFrame) -> None:
    """The mean of the seeds as a bar and each seed as a dot, where a layer can lose filters."""
    percent = 100 * values.dropna()
    axis.bar(percent.index, percent.mean(axis=1), color=MEAN, alpha=0.8, width=0.8)
    for shift, seed in zip(_shifts(values), percent, strict=True):
        axis.plot(percent.index + 2 * shift, percent[seed], ".", color=SEED, ms=3)
    axis.set_ylim(-5, 100)


def _shifts(values: pd.DataFrame) -> list[float]:
    """Offsets of the seeds from their true place, so that equal values do not hide each other."""
    seeds = values.shape[1]
    return [SPREAD * (number / (seeds - 1) - 0.5) for number in range(seeds)] if seeds > 1 else [0]


def _mark_downsampling(axis: Axes, layers: pd.DataFrame, kernels: Sequence[str]) -> None:
    for _, layer in layers[layers["downsampling"]].iterrows():
        ends = layer["position"] - 0.5, layer["position"] + 0.5
        axis.axvspan(*ends, lw=0, zorder=0, **_band(kernels.index(layer["kernel"])))


def _band(number: int) -> dict[str, Any]:
    return BANDS[number % len(BANDS)]


def _legend(kernels: Sequence[str]) -> list[Artist]:
    return [
        Line2D([], [], color=SEED, lw=0.8, marker=".", ms=4, label="one seed"),
        Line2D([], [], color=MEAN, lw=2.4, label="mean"),
        *(
            Patch(label=f"downsampling, {kernel}", **_band(number))
            for number, kernel in enumerate(kernels)
        ),
    ]
