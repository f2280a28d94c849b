"""Numbers of a table as small JSON files, one per row; DVC shows and compares them as metrics."""

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
    "latency_ms": ("latency_ms", 4),
    "energy_mj": ("energy_mj", 4),
    "search_hours": ("search_hours", 5),
}
"""Metric -> column of the table, and the number of digits to keep."""


def write_metrics(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write ``<network>/<method>.json`` for every row of a table.

    Args:
        table: table of :func:`sbs.results.tables.table_of_runs`; empty cells are skipped.
        folder: folder for the files of only this table.

    Returns:
        Paths of the files.
    """
    written = []
    for _, row in table.iterrows():
        metrics = {
            name: round(float(row[column]), digits)
            for name, (column, digits) in COLUMNS.items()
            if not pd.isna(row.get(column))
        }
        path = Path(folder) / row["network"] / f"{row['method']}.json"
        atomic_write_text(path, json.dumps(metrics, indent=1) + "\n")
        written.append(path)
    return written


def write_score(score: dict[str, dict[str, int]], path: Path) -> None:
    """Write the number of claims of each kind with each verdict; keys have underscores."""
    metrics = {
        _key(kind): {_key(verdict): count for verdict, count in counts.items()}
        for kind, counts in score.items()
    }
    atomic_write_text(path, json.dumps(metrics, indent=1) + "\n")


def _key(words: str) -> str:
    return words.replace(",", "").replace(" ", "_")


def write_correlations(table: pd.DataFrame, path: Path) -> None:
    """Write the rank correlations of :func:`sbs.results.sensitivity.rank_correlations`."""
    numbers: dict[str, dict[str, dict[str, float]]] = {}
    for _, row in table.iterrows():
        cell = {name: round(float(row[name]), 3) for name in ("correlation", "low", "high")}
        numbers.setdefault(str(row["method"]), {})[str(row["measure"])] = cell
    atomic_write_text(path, json.dumps(numbers, indent=1) + "\n")
