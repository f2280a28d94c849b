"""The paper's tables: measured beside published."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

LABELS = {
    "fp": "Full-precision",
    "fixed4": "4-bit precision",
    "dq": "DQ",
    "haq": "HAQ",
    "dnas": "DNAS",
    "sbs_p": "SBS-P",
    "sbs_q": "SBS-Q",
    "sbs": "SBS",
}
"""Methods of Tables 1 and 2 in the paper's order."""

PUBLISHED_METRICS = {
    "bops_m": "published_bops_m",
    "bop_ratio": "published_bop_ratio",
    "search_gpu_hours": "published_search_titan_xp_hours",
    "top1": "published_top1",
    "top5": "published_top5",
}
PAPER_DATASET = "cifar100"


def table1(runs: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Table 1: a row a network and method, measured and published cells in columns of their own.

    Args:
        runs: what :func:`sbs.collect.collect` gives; only variant ``default`` counts.
        published: the paper's values: table, network, method, metric, value, std.

    Returns:
        BOPs in millions, hours of one device, accuracies in percent. ``*_std`` is the sample
        standard deviation over ``seeds`` runs, empty for one. Published values are the paper's,
        on CIFAR-100, whatever the scale.
    """
    rows: list[dict[str, Any]] = []
    default = runs[runs["variant"] == "default"]
    for (network, method), group in default.groupby(["network", "method"], sort=False):
        rows.append(_measured(group) | _published(published, "table1", network, method))
    table = pd.DataFrame(rows)
    order = {method: position for position, method in enumerate(LABELS)}
    table["position"] = table["method"].map(lambda method: order.get(method, len(order)))
    table = table.sort_values(["network", "position", "method"], ignore_index=True)
    return table.drop(columns="position")


def rendering(table: pd.DataFrame) -> str:
    """A Markdown rendering of :func:`table1`: mean ± standard deviation (number of seeds)."""
    scale, dataset = table["scale"].iloc[0], table["dataset"].iloc[0]
    lines = [f"# Table 1 at the scale `{scale}` (dataset: {dataset})", ""]
    if dataset != PAPER_DATASET:
        lines += [
            f"Measured on **{dataset}**, published on CIFAR-100: the two do not compare.",
            "",
        ]
    elif scale != PAPER_DATASET:
        lines += [f"Measured with the shortened schedules of `config/{scale}.yaml`.", ""]
    lines += [
        "Search cost is the time of one search on one device; the paper's device is a TITAN Xp.",
        "Accuracy: mean ± sample standard deviation (number of seeds).",
        "",
    ]
    shown = pd.DataFrame([_rendered(row) for _, row in table.iterrows()])
    devices = sorted(set(table["search_device"].dropna()))
    closing = f"Search device: {', '.join(devices)}." if devices else ""
    return "\n".join([*lines, shown.to_markdown(index=False), "", closing]).rstrip() + "\n"


def _measured(group: pd.DataFrame) -> dict[str, Any]:
    first = group.iloc[0]
    cells: dict[str, Any] = {
        "scale": first["scale"],
        "dataset": first["dataset"],
        "network": first["network"],
        "method": first["method"],
        "label": LABELS.get(first["method"], first["method"]),
        "bops_m": group["bops"].mean() / 1e6,
        "bop_ratio": group["bop_ratio"].mean(),
        "search_hours": group["search_device_hours"].mean(),
        "search_device": first["search_device"],
        "search_peak_memory_mb": group["search_peak_memory_bytes"].mean() / 1e6,
    }
    for metric in ("top1", "top5"):
        cells[f"{metric}_mean"] = group[metric].mean()
        cells[f"{metric}_std"] = group[metric].std(ddof=1)
    return cells | {"seeds": len(group)}


def _published(
    published: pd.DataFrame, table: str, network: Hashable, method: Hashable
) -> dict[str, float]:
    chosen = published[
        (published["table"] == table)
        & (published["network"] == network)
        & (published["method"] == method)
    ].set_index("metric")
    cells = {}
    for metric, column in PUBLISHED_METRICS.items():
        cells[column] = chosen["value"].get(metric, float("nan"))
        if metric in ("top1", "top5"):
            cells[f"{column}_std"] = chosen["std"].get(metric, float("nan"))
    return cells


def _rendered(row: pd.Series) -> dict[str, str]:
    cells = {"Network": row["network"], "Method": row["label"]}
    cells["BOPs (M)"] = f"{row['bops_m']:.1f}"
    cells["ratio"] = f"{row['bop_ratio']:.1f}"
    cells["search (h)"] = "–" if pd.isna(row["search_hours"]) else f"{row['search_hours']:.4f}"
    for metric, name in (("top1", "top-1 (%)"), ("top5", "top-5 (%)")):
        mean = _spread(row[f"{metric}_mean"], row[f"{metric}_std"])
        cells[name] = f"{mean} ({row['seeds']})"
    published = {"BOPs (M)": "bops_m", "ratio": "bop_ratio", "search (h)": "search_titan_xp_hours"}
    for name, column in published.items():
        value = row[f"published_{column}"]
        cells[f"published {name}"] = "–" if pd.isna(value) else f"{value:.1f}"
    for metric, name in (("top1", "top-1 (%)"), ("top5", "top-5 (%)")):
        cells[f"published {name}"] = _spread(
            row[f"published_{metric}"], row[f"published_{metric}_std"], digits=1
        )
    return cells


def _spread(mean: float, std: float, digits: int = 2) -> str:
    if pd.isna(mean):
        return "–"
    return f"{mean:.{digits}f}" + ("" if pd.isna(std) else f" ± {std:.{digits}f}")
