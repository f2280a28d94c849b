"""Render tables of runs as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from sbs.registry.datasets import dataset
from sbs.results.published import dataset_in_paper
from sbs.results.statistics import LEVEL

MISSING = "–"
ONE_RUN = "one run"
"""Text in the column of groups for a row that is not compared."""


class CostColumns(NamedTuple):
    """How tables show a cost.

    Attributes:
        cost: column of the cost.
        ratio: column of its reduction.
        heading: heading of the cost.
        ratio_heading: heading of the reduction.
        digits: decimals of the cost.
        ratio_digits: decimals of the reduction.
    """

    cost: str
    ratio: str
    heading: str
    ratio_heading: str = "ratio"
    digits: int = 1
    ratio_digits: int = 1


COSTS = {
    "bops": CostColumns("bops_m", "bop_ratio", "BOPs (M)"),
    "memory": CostColumns("memory_kb", "memory_ratio", "memory (KB)"),
    "bitfusion-latency": CostColumns(
        "latency_ms", "latency_ratio", "latency (ms)", "latency ratio", 3, 2
    ),
    "bitfusion-energy": CostColumns(
        "energy_mj", "energy_ratio", "energy (mJ)", "energy ratio", 3, 2
    ),
}
"""Cost model -> its columns."""


def rendering(table: pd.DataFrame, title: str, *resources: str) -> str:
    """A table of runs as Markdown: mean ± standard deviation (number of seeds).

    Args:
        table: table of :func:`sbs.results.tables.table_of_runs`.
        title: heading.
        resources: costs that the table compares methods by, keys of :data:`COSTS`.
    """
    scale, measured = table["scale"].iloc[0], table["dataset"].iloc[0]
    shown = pd.DataFrame([_rendered(row, resources) for _, row in table.iterrows()])
    shown = shown.loc[:, (~shown.isin([MISSING, ONE_RUN])).any()]
    devices = sorted(set(table.get("search_device", pd.Series(dtype=str)).dropna()))
    lines = [
        *(f"# {title} at the scale `{scale}` (dataset: {measured})", ""),
        *_measured_how(scale, measured, dataset_in_paper(table)),
        "Search cost is the time of one search on one device; the paper's device is a TITAN Xp.",
        "The time is by the clock: other work on the machine is in it.",
        "The share compares the training of a search with that in the method's own paper.",
        "Epochs trained: all that the weights of the network were trained, in search and after it.",
        "Landed: searches whose policy missed the target and was changed to meet it.",
        "Accuracy: mean ± sample standard deviation (number of seeds).",
        "",
        *(shown.to_markdown(index=False, disable_numparse=True), ""),
        "Top-1 group: two rows of a network differ in top-1 accuracy if they share no letter",
        f"(Welch's t-test, p < {LEVEL}). A row of {ONE_RUN} is not compared.",
    ]
    if devices:
        lines += ["", f"Search device: {', '.join(devices)}."]
    return "\n".join(lines) + "\n"


def number(value: float | None, digits: int) -> str:
    """A value with this number of decimals, or a dash if there is none."""
    return MISSING if value is None or pd.isna(value) else f"{value:.{digits}f}"


def _measured_how(scale: str, measured: str, published: str) -> list[str]:
    if measured != published:
        paper = dataset(published).label
        return [f"Measured on **{measured}**, published on {paper}: the two do not compare.", ""]
    if scale != measured:
        return [f"Measured with the shortened schedules of `config/{scale}.yaml`.", ""]
    return []


def _rendered(row: pd.Series, resources: Sequence[str]) -> dict[str, str]:
    cells = {"Network": row["network"], "Method": row["label"]}
    cells |= _costs(row, "", resources) | {"search (h)": number(row["search_hours"], 4)}
    cells["share of authors' search (%)"] = number(100 * row["search_share"], 1)
    cells["epochs trained"] = number(row.get("trained_epochs"), 1)
    cells["landed (%)"] = number(100 * row.get("landed_share", float("nan")), 0)
    cells["peak memory (MB)"] = number(row.get("search_peak_memory_mb"), 0)
    for metric, name in (("top1", "top-1 (%)"), ("top5", "top-5 (%)")):
        mean = _spread(row[f"{metric}_mean"], row.get(f"{metric}_std"))
        cells[name] = f"{mean} ({row['seeds']})"
    cells["top-1 group"] = row["top1_groups"] or ONE_RUN
    for side in ("search", "published"):
        for what, unit in (("hours", "time"), ("memory", "memory")):
            ratio = row.get(f"{side}_{what}_over_sharing")
            prefix = "published " if side == "published" else ""
            cells[f"{prefix}{unit} over sharing"] = number(ratio, 2)
    cells |= _costs(row, "published_", resources)
    cells["published search (h)"] = number(row.get("published_search_titan_xp_hours"), 1)
    for metric, name in (("top1", "top-1 (%)"), ("top5", "top-5 (%)")):
        cells[f"published {name}"] = _spread(
            row.get(f"published_{metric}"), row.get(f"published_{metric}_std"), digits=1
        )
    return cells


def _costs(row: pd.Series, prefix: str, resources: Sequence[str]) -> dict[str, str]:
    name, cells = prefix.replace("_", " "), {}
    for columns in (COSTS[resource] for resource in resources):
        cost, ratio = (row.get(f"{prefix}{column}") for column in (columns.cost, columns.ratio))
        cells[f"{name}{columns.heading}"] = number(cost, columns.digits)
        cells[f"{name}{columns.ratio_heading}"] = number(ratio, columns.ratio_digits)
    return cells


def _spread(mean: float | None, std: float | None, digits: int = 2) -> str:
    if mean is None or pd.isna(mean):
        return MISSING
    return f"{mean:.{digits}f}" + ("" if std is None or pd.isna(std) else f" ± {std:.{digits}f}")
