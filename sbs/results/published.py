"""The paper's values, as ``config/published.csv`` holds them, beside a row of ours."""

from __future__ import annotations

import pandas as pd

from sbs.registry.networks import networks

PAPER_DATASET = "cifar100"

COLUMNS = {
    "memory_kb": "published_memory_kb",
    "memory_ratio": "published_memory_ratio",
    "bops_m": "published_bops_m",
    "bop_ratio": "published_bop_ratio",
    "search_gpu_hours": "published_search_titan_xp_hours",
    "gpu_memory_gb": "published_gpu_memory_gb",
    "top1": "published_top1",
    "top5": "published_top5",
}
"""Published metric to its column in a table of ours."""


def published_rows(published: pd.DataFrame, table: str, network: str) -> pd.DataFrame:
    """The values of a network in a table of the paper.

    Args:
        published: columns table, network, method, metric, value and std.
        table: ``table1`` and so on.
        network: our name of the network.
    """
    known = networks().get(network)
    name = known.published if known else network
    return published[(published["table"] == table) & (published["network"] == name)]


def published_cells(
    published: pd.DataFrame, table: str, network: str, row: str
) -> dict[str, float]:
    """The paper's cells of a row, NaN for what it does not print, by :data:`COLUMNS`."""
    of_network = published_rows(published, table, network)
    chosen = of_network[of_network["method"] == row].set_index("metric")
    cells = {}
    for metric, column in COLUMNS.items():
        cells[column] = chosen["value"].get(metric, float("nan"))
        if metric in ("top1", "top5"):
            cells[f"{column}_std"] = chosen["std"].get(metric, float("nan"))
    return cells
