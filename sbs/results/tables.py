"""The paper's tables: measured beside published."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sbs.errors import SBSError
from sbs.results.statistics import LEVEL, ties

MISSING = "–"

LABELS = {
    "fp": "Full-precision",
    "fixed4": "4-bit precision",
    "dq": "DQ",
    "haq": "HAQ",
    "dnas": "DNAS",
    "sbs_p": "SBS-P",
    "sbs_q": "SBS-Q",
    "sbs": "SBS",
    "sbs_q_without_sharing": "SBS-Q without bit sharing",
}
"""Methods in the paper's order."""

WITHOUT_SHARING = "sbs_q_without_sharing"
"""Published name of SBS-Q with a path a bitwidth: variant ``multi-path`` of ``sbs_q`` here."""

PUBLISHED_METRICS = {
    "memory_kb": "published_memory_kb",
    "memory_ratio": "published_memory_ratio",
    "bops_m": "published_bops_m",
    "bop_ratio": "published_bop_ratio",
    "search_gpu_hours": "published_search_titan_xp_hours",
    "gpu_memory_gb": "published_gpu_memory_gb",
    "top1": "published_top1",
    "top5": "published_top5",
}
PAPER_DATASET = "cifar100"
TABLE2_NETWORK = "resnet56"


def table1(runs: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Table 1: methods by bit operations, a row a network and method.

    Args:
        runs: what :func:`sbs.results.collect.collect` gives; only variant ``default`` counts.
        published: the paper's values: table, network, method, metric, value, std.

    Returns:
        Measured and published cells in columns of their own: BOPs in millions, hours of one
        device, accuracies in percent. ``*_std`` is the sample standard deviation over ``seeds``
        runs, empty for one. ``top1_ties`` names the methods of the same network whose top-1
        differs by no more than the noise over seeds (:mod:`sbs.results.statistics`).
        Published values are the paper's, on CIFAR-100, whatever the scale.
    """
    return _table("table1", runs, published)


def table2(runs: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Table 2: methods by memory footprint, with memory as the constraint of the search.

    Those are the runs of variant ``memory``, and the default ones of methods that know no other
    constraint or none at all. Arguments and cells as of :func:`table1`; memory in KB of 1000 bytes.
    """
    return _table("table2", runs, published)


def table5(runs: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Table 5: SBS-Q with and without bit sharing; arguments and cells as of :func:`table1`.

    ``search_hours_over_sharing`` and ``search_memory_over_sharing`` are the ratios to the row with
    sharing of the same network, measured; beside them the published ones.
    """
    table = _table("table5", runs, published)
    for column, ratio in (
        ("search_hours", "search_hours_over_sharing"),
        ("search_peak_memory_mb", "search_memory_over_sharing"),
        ("published_search_titan_xp_hours", "published_hours_over_sharing"),
        ("published_gpu_memory_gb", "published_memory_over_sharing"),
    ):
        shared = table[table["method"] == "sbs_q"].set_index("network")[column]
        table[ratio] = table[column] / table["network"].map(shared)
    return table


def runs_of(name: str, runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that stand in a table, under the methods' names there.

    Raises:
        SBSError: there is no such table.
    """
    default: pd.Series = runs["variant"] == "default"
    if name == "table1":
        return runs[default]
    if name == "table2":
        same = runs["method"].isin(["fp", "dq"]) | runs["method"].str.startswith("fixed")
        constrained = runs["variant"] == "memory"
        return runs[(constrained | (same & default)) & (runs["network"] == TABLE2_NETWORK)]
    if name == "table5":
        chosen = runs[(runs["method"] == "sbs_q") & runs["variant"].isin(["default", "multi-path"])]
        names = chosen["variant"].map({"default": "sbs_q", "multi-path": WITHOUT_SHARING})
        return chosen.assign(method=names)
    raise SBSError(f"{name}: no table of runs; there are table1, table2 and table5")


def export_sizes(paths: Sequence[Path], runs: pd.DataFrame) -> pd.DataFrame:
    """Sizes of exported networks beside what the memory model says of them, in KB of 1000 bytes.

    Args:
        paths: ``sizes.json`` of ``sbs export``, below folders of network, method, variant and seed.
        runs: what :func:`sbs.results.collect.collect` gives.

    Returns:
        A row a file: ``weights_kb`` by the cost model, ``packed_kb`` of the packed words,
        ``file_kb`` with everything else, ``memory_kb`` of Table 2, which counts activations too.
    """
    rows = []
    for path in paths:
        network, method, variant, seed = path.parts[-5:-1]
        sizes = json.loads(path.read_text())
        run = runs[
            (runs["network"] == network)
            & (runs["method"] == method)
            & (runs["variant"] == variant)
            & (runs["seed"] == int(seed.removeprefix("seed-")))
        ]
        rows.append(
            {"network": network, "method": method, "label": LABELS.get(method, method)}
            | {"weights_kb": sizes["claimed"] / 1e3, "packed_kb": sizes["packed"] / 1e3}
            | {"packed_over_weights": sizes["packed"] / sizes["claimed"]}
            | {"file_kb": sizes["file"] / 1e3, "memory_kb": run["memory_bytes"].item() / 1e3}
        )
    return pd.DataFrame(rows)


def _table(name: str, runs: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for network, of_network in runs_of(name, runs).groupby("network", sort=False):
        tied = ties(of_network, "top1")
        for method, group in of_network.groupby("method", sort=False):
            cells = _measured(group) | {"top1_ties": " ".join(tied[str(method)])}
            rows.append(cells | _published(published, name, network, method))
    table = pd.DataFrame(rows)
    order = {method: position for position, method in enumerate(LABELS)}
    table["position"] = table["method"].map(lambda method: order.get(method, len(order)))
    table = table.sort_values(["network", "position", "method"], ignore_index=True)
    table = table.drop(columns="position")
    # Published cells of other tables.
    absent = [name for name in PUBLISHED_METRICS.values() if table[name].isna().all()]
    return table.drop(columns=absent)


def rendering(table: pd.DataFrame, title: str = "Table 1") -> str:
    """A Markdown rendering of a table: mean ± standard deviation (number of seeds)."""
    scale, dataset = table["scale"].iloc[0], table["dataset"].iloc[0]
    lines = [f"# {title} at the scale `{scale}` (dataset: {dataset})", ""]
    if dataset != PAPER_DATASET:
        lines += [
            f"Measured on **{dataset}**, published on CIFAR-100: the two do not compare.",
            "",
        ]
    elif scale != PAPER_DATASET:
        lines += [f"Measured with the shortened schedules of `config/{scale}.yaml`.", ""]
    lines += [
        "Search cost is the time of one search on one device; the paper's device is a TITAN Xp.",
        "Its share is that of the training which the method's own authors give a search.",
        "Accuracy: mean ± sample standard deviation (number of seeds). Methods tie where Welch's",
        f"t-test finds no difference in top-1 (p ≥ {LEVEL}); a single run is not compared.",
        "",
    ]
    shown = pd.DataFrame([_rendered(row) for _, row in table.iterrows()])
    shown = shown.loc[:, (shown != MISSING).any()]
    devices = sorted(set(table.get("search_device", pd.Series(dtype=str)).dropna()))
    closing = f"Search device: {', '.join(devices)}." if devices else ""
    return (
        "\n".join(
            [*lines, shown.to_markdown(index=False, disable_numparse=True), "", closing]
        ).rstrip()
        + "\n"
    )


def _reduction(group: pd.DataFrame, ratio: str, cost: str) -> float:
    """Full precision's cost over the mean of the runs' costs, as the cell of the cost shows it."""
    full = group[ratio].iloc[0] * group[cost].iloc[0]
    return float(full / group[cost].mean())


def _measured(group: pd.DataFrame) -> dict[str, Any]:
    first = group.iloc[0]
    cells: dict[str, Any] = {
        "scale": first["scale"],
        "dataset": first["dataset"],
        "network": first["network"],
        "method": first["method"],
        "label": LABELS.get(first["method"], first["method"]),
        "bops_m": group["bops"].mean() / 1e6,
        "bop_ratio": _reduction(group, "bop_ratio", "bops"),
        "memory_kb": group["memory_bytes"].mean() / 1e3,
        "memory_ratio": _reduction(group, "memory_ratio", "memory_bytes"),
        "search_hours": group["search_device_hours"].mean(),
        "search_share": group["search_share"].mean(),
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
    cells |= _costs(row, "", hours_digits=4, hours="search_hours")
    cells["share of authors' search (%)"] = _number(100 * row["search_share"], 1)
    cells["peak memory (MB)"] = _number(row.get("search_peak_memory_mb"), 0)
    for metric, name in (("top1", "top-1 (%)"), ("top5", "top-5 (%)")):
        mean = _spread(row[f"{metric}_mean"], row.get(f"{metric}_std"))
        cells[name] = f"{mean} ({row['seeds']})"
    cells["ties with"] = ", ".join(LABELS.get(m, m) for m in row["top1_ties"].split()) or MISSING
    for side in ("search", "published"):
        for what, unit in (("hours", "time"), ("memory", "memory")):
            ratio = row.get(f"{side}_{what}_over_sharing")
            prefix = "published " if side == "published" else ""
            cells[f"{prefix}{unit} over sharing"] = _number(ratio, 2)
    cells |= _costs(row, "published_", hours_digits=1, hours="published_search_titan_xp_hours")
    for metric, name in (("top1", "top-1 (%)"), ("top5", "top-5 (%)")):
        cells[f"published {name}"] = _spread(
            row.get(f"published_{metric}"), row.get(f"published_{metric}_std"), digits=1
        )
    return cells


def _costs(row: pd.Series, prefix: str, *, hours_digits: int, hours: str) -> dict[str, str]:
    name = prefix.replace("_", " ")
    if "published_memory_kb" in row.index:
        resource = {
            f"{name}memory (KB)": _number(row.get(f"{prefix}memory_kb"), 1),
            f"{name}ratio": _number(row.get(f"{prefix}memory_ratio"), 1),
        }
    else:
        resource = {
            f"{name}BOPs (M)": _number(row.get(f"{prefix}bops_m"), 1),
            f"{name}ratio": _number(row.get(f"{prefix}bop_ratio"), 1),
        }
    return resource | {f"{name}search (h)": _number(row.get(hours), hours_digits)}


def _number(value: float | None, digits: int) -> str:
    return MISSING if value is None or pd.isna(value) else f"{value:.{digits}f}"


def _spread(mean: float | None, std: float | None, digits: int = 2) -> str:
    if mean is None or pd.isna(mean):
        return MISSING
    return f"{mean:.{digits}f}" + ("" if std is None or pd.isna(std) else f" ± {std:.{digits}f}")
