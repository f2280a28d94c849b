"""Figure 4: accuracy of the compressed ResNet-56 against bit operations and against memory."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sbs.results.tables import LABELS

NETWORK = "resnet56"
RESOURCES = {
    "bops": ("bops_m", "BOPs (M)", "table1"),
    "memory": ("memory_kb", "memory (KB)", "table2"),
}
"""Resource to the column and name of its cost, and the paper's table of points beside it."""

METHODS = ["dq", "haq", "dnas", "sbs_q", "sbs"]
FIXED = "fixed"
FIXED_LABEL = "fixed precision"
UNCONSTRAINED = (FIXED, "dq")
"""Methods that know no resource of the search: their runs stand in both panels."""

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
    """The points of both panels, measured and published.

    Args:
        runs: what :func:`sbs.results.collect.collect` gives. A search belongs to the panel of its
            resource: variants ``memory*`` to memory, the others to bit operations.
        published: the paper's values. Its figure prints no numbers; its points here are those of
            Tables 1 and 2, and the two costs that the text names without an accuracy.

    Returns:
        A row a point: costs in millions of BOPs or in KB of 1000 bytes, top-1 in percent, sample
        standard deviations over seeds.
    """
    measured = runs[(runs["network"] == NETWORK) & (runs["method"].map(_kind) != "")]
    costs = {"bops": measured["bops"] / 1e6, "memory": measured["memory_bytes"] / 1e3}
    rows = []
    for resource in RESOURCES:
        chosen = measured.assign(cost=costs[resource])[_belongs(measured, resource)]
        for (method, variant), group in chosen.groupby(["method", "variant"], sort=False):
            rows.append(
                {"source": "measured", "resource": resource, "method": method, "variant": variant}
                | {"cost_mean": group["cost"].mean(), "cost_std": group["cost"].std(ddof=1)}
                | {"top1_mean": group["top1"].mean(), "top1_std": group["top1"].std(ddof=1)}
                | {"seeds": len(group)}
            )
        rows += _published(published, resource)
    points = pd.DataFrame(rows).reindex(columns=COLUMNS)
    points["label"] = points["method"].map(_label)
    return points.sort_values(["source", "resource", "method", "cost_mean"], ignore_index=True)


def draw_figure4(points: pd.DataFrame, dataset: str) -> Figure:
    """Measured points above the published ones, bit operations beside memory.

    Args:
        points: of :func:`figure4_points`.
        dataset: what the measured points were measured on.
    """
    sources = {"measured": f"measured on {dataset}", "published": "published, on CIFAR-100"}
    figure, axes = plt.subplots(2, 2, figsize=(10, 8), layout="constrained", squeeze=False)
    labels = [FIXED_LABEL, *(LABELS[method] for method in METHODS)]
    colours = dict(zip(labels, sns.color_palette("deep", len(labels)), strict=True))
    for row, (source, title) in zip(axes, sources.items(), strict=True):
        for axis, resource in zip(row, RESOURCES, strict=True):
            panel = points[(points["source"] == source) & (points["resource"] == resource)]
            _draw(axis, panel, colours)
            axis.set(title=title, xlabel=RESOURCES[resource][1], ylabel="top-1 (%)")
    _legend(figure)
    figure.suptitle("ResNet-56: mean and sample standard deviation over seeds")
    return figure


def _kind(method: str) -> str:
    """The method's line in the figure; empty if it has none."""
    if method.startswith(FIXED):
        return FIXED
    return method if method in METHODS else ""


def _label(method: str) -> str:
    kind = _kind(method)
    return FIXED_LABEL if kind == FIXED else LABELS[kind]


def _belongs(runs: pd.DataFrame, resource: str) -> pd.Series:
    both = runs["method"].map(_kind).isin(UNCONSTRAINED)
    memory = runs["variant"].str.startswith("memory")
    return both | (memory if resource == "memory" else ~memory)


def _published(published: pd.DataFrame, resource: str) -> list[dict[str, object]]:
    metric, _, table = RESOURCES[resource]
    of_network = published[published["network"] == NETWORK]
    rows: list[dict[str, object]] = []
    for source_table, variant in ((table, "default"), ("fig4", "text")):
        of_table = of_network[of_network["table"] == source_table]
        for method, group in of_table.groupby("method", sort=False):
            if not _kind(str(method)):
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
    """One legend for all panels, a line a name."""
    found: dict[str, Artist] = {}
    for axis in figure.axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    figure.legend(
        list(found.values()), list(found), loc="outside lower center", ncols=4, frameon=False
    )
