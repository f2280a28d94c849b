"""The paper's values from ``config/published.csv``, for the rows of our tables."""

from __future__ import annotations

import pandas as pd

from sbs.registry.methods import methods
from sbs.registry.networks import networks

PAPER_DATASET = "cifar100"
"""Dataset of the paper's tables, if they do not say another one."""

PAPER_DATASETS = (PAPER_DATASET, "imagenet")
"""Datasets of the paper's experiments."""

COLUMNS = {
    "memory_kb": "published_memory_kb",
    "memory_ratio": "published_memory_ratio",
    "bops_m": "published_bops_m",
    "bop_ratio": "published_bop_ratio",
    "latency_ms": "published_latency_ms",
    "energy_mj": "published_energy_mj",
    "search_gpu_hours": "published_search_titan_xp_hours",
    "gpu_memory_gb": "published_gpu_memory_gb",
    "top1": "published_top1",
    "top5": "published_top5",
}
"""Published metric -> its column in our tables."""


def published_rows(published: pd.DataFrame, table: str, network: str) -> pd.DataFrame:
    """The paper's values for a network in one of its tables.

    Args:
        published: columns table, network, method, metric, value and std.
        table: name of the paper's table, for example ``table1``.
        network: our name of the network.
    """
    known = networks().get(network)
    name = known.published if known else network
    return published[(published["table"] == table) & (published["network"] == name)]


def published_dataset(published: pd.DataFrame, table: str) -> str:
    """Dataset of one of the paper's tables.

    Args:
        published: as for :func:`published_rows`, and a column dataset.
        table: name of the paper's table.
    """
    found = published.loc[published["table"] == table, "dataset"]
    return str(found.iloc[0]) if len(found) else PAPER_DATASET


def dataset_in_paper(table: pd.DataFrame) -> str:
    """Dataset of the published values in a table of runs; older tables do not say it."""
    column = table.get("published_dataset")
    return PAPER_DATASET if column is None else str(column.iloc[0])


def published_cells(
    published: pd.DataFrame, table: str, network: str, row: str
) -> dict[str, float]:
    """The paper's cells of a row, by :data:`COLUMNS`; NaN where it prints nothing."""
    of_network = published_rows(published, table, network)
    chosen = of_network[of_network["method"] == row].set_index("metric")
    if "bops_g" in chosen.index:  # ImageNet's tables print thousands of millions
        chosen.loc["bops_m", "value"] = 1000 * chosen["value"]["bops_g"]
    cells = {}
    for metric, column in COLUMNS.items():
        cells[column] = chosen["value"].get(metric, float("nan"))
        if metric in ("top1", "top5"):
            cells[f"{column}_std"] = chosen["std"].get(metric, float("nan"))
    return cells


def quoted(published: pd.DataFrame, table: str) -> pd.DataFrame:
    """The paper's rows of methods that are not registered: it quotes them from other papers.

    Args:
        published: as for :func:`published_rows`.
        table: name of the paper's table.

    Returns:
        One row per network and method, with the metrics that the paper prints as columns.
    """
    rows = published[(published["table"] == table) & ~published["method"].map(is_ours)]
    index = ["network", "method"]
    return (
        rows.pivot_table("value", index, "metric", sort=False)
        .reset_index()
        .rename_axis(columns=None)
    )


def is_ours(name: str) -> bool:
    """Whether a published row is of a registered method, at whatever target."""
    return any(name == known or name.startswith(f"{known}_") for known in methods())
