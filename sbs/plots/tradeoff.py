"""Figures 4 and 5: accuracy of compressed networks against their cost, for several targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sbs.errors import SBSError
from sbs.registry.costs import cost_model
from sbs.registry.datasets import dataset
from sbs.registry.methods import methods
from sbs.registry.networks import network
from sbs.results.published import published_rows
from sbs.results.quantities import COSTS

COLUMNS = [
    "source",
    "network",
    "resource",
    "method",
    "label",
    "variant",
    "cost_mean",
    "cost_std",
    "top1_mean",
    "top1_std",
    "seeds",
]
LEVEL = "_8bit_level"
"""Ending of the methods of published rows at a second target of the same table."""


@dataclass(frozen=True)
class Panel:
    """A panel of a figure: a network and a cost.

    Attributes:
        network: the network.
        resource: the cost.
        tables: names of the published values that belong in it; ``text`` marks costs that only the
            text gives, without accuracies.
    """

    network: str
    resource: str
    tables: tuple[str, ...]

    @property
    def title(self) -> str:
        """The network's name."""
        return network(self.network).label


def panels_of_figure4(runs: pd.DataFrame) -> list[Panel]:
    """Bit operations and memory of the only network.

    Raises:
        SBSError: the runs are of several networks.
    """
    names = sorted(set(runs["network"]))
    if len(names) > 1:
        raise SBSError(
            f"Figure 4 shows one network, not {', '.join(names)}; give fig4 to the rows of one of "
            "them (column tables of config/experiments.tsv)"
        )
    tables = {"bops": "table1", "memory": "table2"}
    return [Panel(names[0], resource, (table, "fig4")) for resource, table in tables.items()]


def panels_of_figure5(rows: pd.DataFrame) -> list[Panel]:
    """Bit operations of each network, of runs or of the paper's values in Table 3."""
    return [Panel(name, "bops", ("table3",)) for name in dict.fromkeys(rows["network"])]


def points_of(
    runs: pd.DataFrame,
    published: pd.DataFrame,
    panels: Sequence[Panel],
    paper_panels: Sequence[Panel],
) -> pd.DataFrame:
    """The measured and published points of all panels, for all methods that quantize.

    Args:
        runs: rows of :func:`sbs.results.collect.collect` that the sheet selects for the figure. A
            run is in the panel of the resource that its search was steered to; without one, it is
            in every panel of its network.
        published: the paper's values. Its figures print no numbers. So the published points are
            those of its tables, and two costs that the text gives without an accuracy.
        panels: what the figure shows of the measured runs.
        paper_panels: what it shows of the paper's values.

    Returns:
        One row per point: cost in millions of BOPs or in KB of 1000 bytes, top-1 in percent, and
        sample standard deviations over seeds.
    """
    measured = runs[[_line(method) is not None for method in runs["method"]]]
    rows = []
    for panel in panels:
        inside = measured["resource"].isna() | (measured["resource"] == panel.resource)
        rows += _measured(measured[inside & (measured["network"] == panel.network)], panel)
    for panel in paper_panels:
        rows += _published(published, panel)
    points = pd.DataFrame(rows).reindex(columns=COLUMNS)
    points["label"] = points["method"].map(_line)
    order = ["source", "network", "resource", "method", "cost_mean"]
    return points.sort_values(order, ignore_index=True)


def draw(
    points: pd.DataFrame,
    panels: Sequence[Panel],
    paper_panels: Sequence[Panel],
    measured_on: str,
    published_on: str,
) -> Figure:
    """Draw the measured panels (top) and the published ones (bottom).

    Args:
        points: table of :func:`points_of`.
        panels: measured panels.
        paper_panels: as many published ones.
        measured_on: dataset of the measured points.
        published_on: dataset of the published points.
    """
    sources = {
        "measured": (panels, f"measured on {dataset(measured_on).label}"),
        "published": (paper_panels, f"published, on {dataset(published_on).label}"),
    }
    size = (5 * len(panels), 8)
    figure, axes = plt.subplots(2, len(panels), figsize=size, layout="constrained", squeeze=False)
    lines = list(dict.fromkeys(one.line for one in methods().values() if one.quantizes))
    colours = dict(zip(lines, sns.color_palette("deep", len(lines)), strict=True))
    for row, (source, (shown, where)) in zip(axes, sources.items(), strict=True):
        for axis, panel in zip(row, shown, strict=True):
            inside = (points["network"] == panel.network) & (points["resource"] == panel.resource)
            _draw(axis, points[inside & (points["source"] == source)], colours)
            cost = cost_model(panel.resource)
            axis.set(xlabel=f"{cost.label} ({cost.unit})", ylabel="top-1 (%)")
            axis.set_title(f"{panel.title}, {where}")
            axis.locator_params(axis="x", nbins=5)
    _legend(figure)
    figure.suptitle("Mean and sample standard deviation over seeds")
    return figure


def _line(method: str) -> str | None:
    """Name of the method's line in the figure; None if it has none."""
    known = methods().get(method)
    return known.line if known is not None and known.quantizes else None


def _measured(runs: pd.DataFrame, panel: Panel) -> list[dict[str, object]]:
    quantity = COSTS[panel.resource]
    with_cost = runs.assign(cost=runs[quantity.column] / quantity.scale)
    return [
        {"source": "measured", "network": panel.network, "resource": panel.resource}
        | {"method": method, "variant": variant, "seeds": len(group)}
        | {"cost_mean": group["cost"].mean(), "cost_std": group["cost"].std(ddof=1)}
        | {"top1_mean": group["top1"].mean(), "top1_std": group["top1"].std(ddof=1)}
        for (method, variant), group in with_cost.groupby(["method", "variant"], sort=False)
    ]


def _published(published: pd.DataFrame, panel: Panel) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for table in panel.tables:
        of_table = published_rows(published, table, panel.network)
        for row, group in of_table.groupby("method", sort=False):
            method = str(row).removesuffix(LEVEL)
            if _line(method) is None:
                continue
            cells = group.set_index("metric")
            factors = COSTS[panel.resource].published.items()
            costs = (cells["value"][name] * f for name, f in factors if name in cells.index)
            variant = "text" if table.startswith("fig") else "default"
            variant = variant if method == row else "eight"
            rows.append(
                {"source": "published", "network": panel.network, "resource": panel.resource}
                | {"method": method, "variant": variant, "cost_mean": next(costs, None)}
                | {"top1_mean": cells["value"].get("top1"), "top1_std": cells["std"].get("top1")}
            )
    return rows


def _draw(axis: Axes, panel: pd.DataFrame, colours: dict[str, tuple[float, float, float]]) -> None:
    for label, group in panel.groupby("label", sort=False):
        known = group[group["top1_mean"].notna()].sort_values("cost_mean")
        axis.errorbar(
            known["cost_mean"],
            known["top1_mean"],
            xerr=known["cost_std"].fillna(0),
            yerr=known["top1_std"].fillna(0),
            fmt="o-",
            markersize=4,
            capsize=2,
            color=colours[str(label)],
            label=label,
        )
        for cost in group[group["top1_mean"].isna()]["cost_mean"]:
            axis.axvline(
                cost, color=colours[str(label)], linestyle=":", label=f"{label}: cost in the text"
            )


def _legend(figure: Figure) -> None:
    """One legend for all panels, with one entry per name."""
    found: dict[str, Artist] = {}
    for axis in figure.axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    figure.legend(
        list(found.values()), list(found), loc="outside lower center", ncols=4, frameon=False
    )
