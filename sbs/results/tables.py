"""Tables of runs: measured values beside published ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sbs.registry.code import RECORDED_COSTS
from sbs.results.published import COLUMNS, published_cells, published_dataset
from sbs.results.quantities import COSTS
from sbs.results.rendering import COSTS as COST_COLUMNS
from sbs.results.rows import Variants, with_rows
from sbs.results.statistics import letters


def table_of_runs(
    name: str,
    runs: pd.DataFrame,
    published: pd.DataFrame,
    variants: Variants | None = None,
    resources: Sequence[str] = RECORDED_COSTS,
) -> pd.DataFrame:
    """Compare methods: one row per network and method, in the order of the methods.

    Args:
        name: the paper's table with the published values, for example ``table1``.
        runs: rows of :func:`sbs.results.collect.collect` that the sheet selects for the table.
            Some settings put a method into another row, with its own name.
        published: the paper's values: table, network, method, metric, value, std.
        variants: rows of single variants, for a table that compares them.
        resources: costs of the table, keys of :data:`sbs.results.rendering.COSTS`.

    Returns:
        ``run_method`` and ``variants`` say which runs a row is of.
        Separate columns for measured and published values: BOPs in millions, memory in KB of 1000
        bytes, latency in ms and energy in mJ of a batch of 16, hours of one device, accuracies in
        percent. ``*_ratio`` is the cost of the network at full precision over that of the row; of
        latency and energy, that of the network at 8 bits. ``*_std`` is the sample standard
        deviation over ``seeds`` runs; empty for one run. If rows of a network share a letter in
        ``top1_groups``, their top-1 does not differ by more than the noise over seeds
        (:func:`sbs.results.statistics.letters`); it is empty for a single run. Published values
        are the paper's, on CIFAR-100, at every scale.

    Raises:
        SBSError: runs of several variants would be in one row.
    """
    rows: list[dict[str, Any]] = []
    for network, of_network in with_rows(runs, variants).groupby("network", sort=False):
        of_row = {str(row): group for row, group in of_network.groupby("row", sort=False)}
        groups = letters({row: group["top1"] for row, group in of_row.items()})
        for row, group in of_row.items():
            cells = _measured(group, resources) | {"top1_groups": groups[row]}
            cells["published_dataset"] = published_dataset(published, name)
            rows.append(cells | published_cells(published, name, str(network), row))
    order = ["network", "order", "place", "method"]
    table = pd.DataFrame(rows).sort_values(order, ignore_index=True)
    # Remove published columns that only other tables have.
    absent = [column for column in COLUMNS.values() if table[column].isna().all()]
    return table.drop(columns=["order", "place", *absent])


def table5(runs: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Table 5: searches with and without bit sharing; :func:`table_of_runs` with ratios.

    Full precision has no search, so it has no row. ``search_hours_over_sharing`` and
    ``search_memory_over_sharing`` are measured ratios to the row with sharing of the same network;
    the published ratios are beside them.
    """
    searched = runs[runs["bit_sharing"].notna()]
    table = table_of_runs("table5", searched, published)
    sharing = set(with_rows(searched[searched["bit_sharing"].astype(bool)])["row"])
    for column, ratio in (
        ("search_hours", "search_hours_over_sharing"),
        ("search_peak_memory_mb", "search_memory_over_sharing"),
        ("published_search_titan_xp_hours", "published_hours_over_sharing"),
        ("published_gpu_memory_gb", "published_memory_over_sharing"),
    ):
        shared = table[table["method"].isin(sharing)].set_index("network")[column]
        table[ratio] = table[column] / table["network"].map(shared)
    return table


def _measured(group: pd.DataFrame, resources: Sequence[str]) -> dict[str, Any]:
    first = group.iloc[0]
    cells: dict[str, Any] = {
        "scale": first["scale"],
        "dataset": first["dataset"],
        "network": first["network"],
        "method": first["row"],
        "label": first["label"],
        "run_method": first["method"],
        "variants": " ".join(dict.fromkeys(group["variant"])),
        "order": first["order"],
        "place": first["place"],
        **_costs(group, resources),
        "search_hours": group["search_device_hours"].mean(),
        "search_share": group["search_share"].mean(),
        "search_device": first["search_device"],
        "trained_epochs": group["trained_epochs"].mean(),
        "landed_share": _landed_share(group),
        "search_peak_memory_mb": group["search_peak_memory_bytes"].mean() / 1e6,
    }
    for metric in ("top1", "top5"):
        cells[f"{metric}_mean"] = group[metric].mean()
        cells[f"{metric}_std"] = group[metric].std(ddof=1)
    return cells | {"seeds": len(group)}


def _costs(group: pd.DataFrame, resources: Sequence[str]) -> dict[str, float]:
    cells = {}
    for resource in resources:
        columns, quantity = COST_COLUMNS[resource], COSTS[resource]
        cells[columns.cost] = group[quantity.column].mean() / quantity.scale
        cells[columns.ratio] = _reduction(group, columns.ratio, quantity.column)
    return cells


def _landed_share(group: pd.DataFrame) -> float:
    """Share of the searches whose policy a landing step had to change; NaN without such a step."""
    flips = group["landing_flips"].dropna()
    return float((flips > 0).mean())


def _reduction(group: pd.DataFrame, ratio: str, cost: str) -> float:
    """Cost of the whole network divided by the mean cost of the runs, as its column shows it."""
    full = group[ratio].iloc[0] * group[cost].iloc[0]
    return float(full / group[cost].mean())
