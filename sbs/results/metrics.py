"""A table's numbers as small JSON files, one a row, which DVC shows and compares as metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from sbs.provenance.files import atomic_write_text

COLUMNS = {
    "top1": ("top1_mean", 2),
    "top1_std": ("top1_std", 2),
    "top5": ("top5_mean", 2),
    "bops_m": ("bops_m", 2),
    "memory_kb": ("memory_kb", 1),
    "search_hours": ("search_hours", 5),
}
"""Metric to the table's column and the digits that are worth comparing."""


def write_metrics(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write ``<network>/<method>.json`` for every row of a table.

    Args:
        table: measured cells of :func:`sbs.results.tables.table_of_runs`; empty cells are left out.
        folder: of this table alone.

    Returns:
        The files.
    """
    written = []
    for _, row in table.iterrows():
        metrics = {
            name: round(float(row[column]), digits)
            for name, (column, digits) in COLUMNS.items()
            if not pd.isna(row[column])
        }
        path = Path(folder) / row["network"] / f"{row['method']}.json"
        atomic_write_text(path, json.dumps(metrics, indent=1) + "\n")
        written.append(path)
    return written


def write_score(score: dict[str, int], path: Path) -> None:
    """Write how many claims got each verdict, the verdicts as keys without spaces."""
    metrics = {verdict.replace(" ", "_"): count for verdict, count in score.items()}
    atomic_write_text(path, json.dumps(metrics, indent=1) + "\n")
