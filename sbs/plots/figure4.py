"""Figure 4: accuracy of compressed networks against bit operations and against memory."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sbs.errors import SBSError
from sbs.registry.costs import cost_model
from sbs.registry.methods import methods
from sbs.registry.networks import network
from sbs.results.published import published_rows
from sbs.results.quantities import COSTS

PUBLISHED = {"bops": ("bops_m", "table1"), "memory": ("memory_kb", "table2")}
"""Cost of a panel -> its name among the published values, and the table that has its points."""

COLUMNS = [
    "source",
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


def figure4_points(runs: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """The measured and published points of both panels, for all methods that quantize.

    Args:
        runs: rows of :func:`sbs.results.collect.collect` that the sheet selects for Figure 4. A
            run is in the panel of the resource that its search was steered to; without one, it is
            in both panels.
        published: the paper's values. Its figure prints no numbers. So the published points are
            those of Tables 1 and 2, and two costs that the text gives without an accuracy.

    Returns:
        One row per point: cost in millions of BOPs or in KB of 1000 bytes, top-1 in percent, and
        sample standard deviations over seeds.

    Raises:
        SBSError: the runs are of several networks.
    """
    name = _only_network(runs)
    measured = runs[[_line(method) is not None for method in runs["method"]]]
    rows = []
    for resource in PUBLISHED:
        inside = measured["resource"].isna() | (measured["resource"] == resource)
        rows += _measured(measured[inside], resource)
        rows += _published(published, name, resource)
    points = pd.DataFrame(rows).reindex(columns=COLUMNS)
    points["label"] = points["method"].map(_line)
    return points.sort_values(["source", "resource", "method", "cost_mean"], ignore_index=True)


def draw_figure4(points: pd.DataFrame, network_name: str, dataset: str) -> Figure:
    """Draw measured points (top) and published ones (bottom); bit operations left, memory right.

    Args:
        points: table of :func:`figure4_points`.
        network_name: network of the points.
        dataset: dataset of the measured points.
    """
    sources = {"measured": f"measured on {dataset}", "published": "published, on CIFAR-100"}
    figure, axes = plt.subplots(2, 2, figsize=(10, 8), layout="constrained", squeeze=False)
    lines = list(dict.fromkeys(one.line for one in methods().values() if one.quantizes))
    colours = dict(zip(lines, sns.color_palette("deep", len(lines)), strict=True))
    for row, (source, title) in zip(axes, sources.items(), strict=True):
        for axis, resource in zip(row, PUBLISHED, strict=True):
            panel = points[(points["source"] == source) & (points["resource"] == resource)]
            _draw(axis, panel, colours)
            cost = cost_model(resource)
            axis.set(title=title, xlabel=f"{cost.label} ({cost.unit})", ylabel="top-1 (%)")
    _legend(figure)
    title = network(network_name).label
    figure.suptitle(f"{title}: mean and sample standard deviation over seeds")
    return figure


def _only_network(runs: pd.DataFrame) -> str:
    names = sorted(set(runs["network"]))
    if len(names) > 1:
        raise SBSError(
            f"Figure 4 shows one network, not {', '.join(names)}; give fig4 to the rows of one of "
            "them (column tables of config/experiments.tsv)"
        )
    return str(names[0])


def _line(method: str) -> str | None:
    """Name of the method's line in the figure; None if it has none."""
    known = methods().get(method)
    return known.line if known is not None and known.quantizes else None


def _measured(runs: pd.DataFrame, resource: str) -> list[dict[str, object]]:
    quantity = COSTS[resource]
    with_cost = runs.assign(cost=runs[quantity.column] / quantity.scale)
    return [
        {"source": "measured", "resource": resource, "method": method, "variant": variant}
        | {"cost_mean": group["cost"].mean(), "cost_std": group["cost"].std(ddof=1)}
        | {"top1_mean": group["top1"].mean(), "top1_std": group["top1"].std(ddof=1)}
        | {"seeds": len(group)}
        for (method, variant), group in with_cost.groupby(["method", "variant"], sort=False)
    ]


def _published(published: pd.DataFrame, network: str, resource: str) -> list[dict[str, object]]:
    metric, table = PUBLISHED[resource]
    rows: list[dict[str, object]] = []
    for source_table, variant in ((table, "default"), ("fig4", "text")):
        of_table = published_rows(published, source_table, network)
        for method, group in of_table.groupby("method", sort=False):
            if _line(str(method)) is None:
                continue
            cells = group.set_index("metric")
            rows.append(
                {"source": "published", "resource": resource, "method": method, "variant": variant}
                | {"cost_mean": cells["value"].get(metric)}
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
