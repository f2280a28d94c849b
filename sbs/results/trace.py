"""Find the runs behind a cell of a table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sbs.errors import SBSError
from sbs.provenance.records import RunRecord
from sbs.registry.methods import methods

COLUMNS = {
    "seeds": "seed",
    "top1_mean": "top1",
    "top1_std": "top1",
    "top1_groups": "top1",
    "top5_mean": "top5",
    "top5_std": "top5",
    "bops_m": "bops",
    "bop_ratio": "bop_ratio",
    "memory_kb": "memory_bytes",
    "memory_ratio": "memory_ratio",
    "latency_ms": "latency_seconds",
    "latency_ratio": "latency_ratio",
    "energy_mj": "energy_joules",
    "energy_ratio": "energy_ratio",
    "search_hours": "search_device_hours",
    "search_share": "search_share",
    "search_device": "search_device",
    "trained_epochs": "trained_epochs",
    "landed_share": "landing_flips",
    "search_peak_memory_mb": "search_peak_memory_bytes",
    "search_hours_over_sharing": "search_device_hours",
    "search_memory_over_sharing": "search_peak_memory_bytes",
}
"""Column of a table -> the column of the runs that it is computed from."""

OVER_SHARING = "_over_sharing"
"""Suffix of the columns of Table 5 that are ratios to the row with bit sharing."""

KEYS = ("network", "method", "run_method", "variants")
"""Columns of a table of runs that lead from a row to its runs."""

REMEDY = "give the .csv of a table of runs, such as results/table1.csv"


def trace(table: Path, row: str, column: str) -> str:
    """The runs behind a cell: each run's value, its records and their origin.

    Args:
        table: ``table1.csv`` or another table of runs, in the results folder of its scale.
        row: ``network method``, as in the table's columns of these names.
        column: a column of it.

    Raises:
        SBSError: the table, row, column or a record does not exist, or it is another table.
    """
    cells = _table_of_runs(table)
    network, name = _split(row)
    cell = cells[(cells["network"] == network) & (cells["method"] == name)]
    if cell.empty:
        known = ", ".join(f"{r.network} {r.method}" for r in cells.itertuples())
        raise SBSError(f"{table}: no row {row!r}; the rows are {known}")
    if column not in cells.columns:
        raise SBSError(f"{table}: no column {column!r}; the columns are {', '.join(cells.columns)}")
    lines = [f"{table}: {network} {name}, {column} = {cell[column].item()}"]
    if column.startswith("published"):
        kind = "a ratio of numbers" if column.endswith(OVER_SHARING) else "as"
        return "\n".join([*lines, f"{kind} printed in the paper: config/published.csv"])
    if column not in COLUMNS:
        return "\n".join([*lines, "the same for all runs of the row"])
    runs = _read(table.parent / "runs" / table.name)
    runs = runs[(runs["network"] == network) & (runs["method"] == cell["run_method"].item())]
    chosen = runs[runs["variant"].isin(cell["variants"].item().split())]
    lines += _runs_behind(chosen, column, table.parent)
    if column.endswith(OVER_SHARING):
        sharing = runs[runs["bit_sharing"].astype(bool)]
        lines += ["", "divided by the mean of:", *_runs_behind(sharing, column, table.parent)]
    return "\n".join(lines)


def _runs_behind(runs: pd.DataFrame, column: str, results: Path) -> list[str]:
    """For every run a line with its value, and lines about its records."""
    lines = []
    for _, run in runs.sort_values("seed").iterrows():
        lines += ["", f"seed {run['seed']}: {COLUMNS[column]} = {run[COLUMNS[column]]}"]
        for path in _records(results, run):
            lines += _described(path)
    return lines


def _split(row: str) -> tuple[str, str]:
    parts = row.split()
    if len(parts) != 2:
        raise SBSError(f"row {row!r}: write network and method, for example 'resnet20 sbs'")
    return parts[0], parts[1]


def _records(results: Path, run: pd.Series) -> list[Path]:
    network, method, seed = run["network"], run["method"], f"seed-{run['seed']}"
    known = methods().get(method)
    if known is not None and known.search is None:
        return [results / "pretrain" / network / seed / "metrics.json"]
    below = Path(network) / method / run["variant"] / seed
    return [
        results / "search" / below / "search.json",
        results / "finetune" / below / "metrics.json",
    ]


def _described(path: Path) -> list[str]:
    record = RunRecord.load(path)
    versions = ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))
    return [
        f"  {record.stage}: {path}",
        f"    revision {record.git_revision}, settings {record.settings_sha256[:12]}, "
        f"{record.dataset} {record.dataset_sha256[:12]}",
        *(f"    from {name} {digest[:12]}" for name, digest in sorted(record.inputs.items())),
        f"    {record.wall_seconds:.1f} s on {record.device} ({versions})",
    ]


def _table_of_runs(path: Path) -> pd.DataFrame:
    cells = _read(path)
    missing = next((key for key in KEYS if key not in cells.columns), None)
    if missing is not None:
        raise SBSError(f"{path}: no table of runs: it has no column {missing}; {REMEDY}")
    return cells


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except OSError as error:
        raise SBSError(f"{path}: cannot read the table ({error}); make it first") from error
    except ValueError as error:  # as for the .md of a table
        raise SBSError(f"{path}: not a CSV file ({str(error).strip()}); {REMEDY}") from error
