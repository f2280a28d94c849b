"""The experiments sheet: what to run, one row per network, method and variant."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sbs.config.scale import Scale, TableSettings, parse_overrides, stage_settings
from sbs.errors import SBSError
from sbs.registry.methods import searched
from sbs.registry.networks import network

COLUMNS = ("network", "method", "variant", "tables", "options")
LABEL = re.compile(r"[a-z0-9-]+")


@dataclass(frozen=True)
class Experiment:
    """A row of the sheet.

    Attributes:
        network: network name.
        method: method name.
        variant: label that distinguishes rows of the same network and method.
        tables: tables and figures that use the row.
        options: overrides of the scale file, with dotted keys.
    """

    network: str
    method: str
    variant: str
    tables: tuple[str, ...]
    options: dict[str, Any]

    @property
    def label(self) -> str:
        """``method/variant``, as a scale file names rows."""
        return f"{self.method}/{self.variant}"


def load_experiments(path: Path, scale: Scale, tables: Collection[str]) -> list[Experiment]:
    """The rows of the sheet that ``scale`` runs; all rows are checked.

    Args:
        path: the sheet.
        scale: the validated scale.
        tables: names of the tables and figures that can use rows of the sheet.

    Raises:
        SBSError: an unknown network, method, table or option; a malformed row; a duplicate row; or
            a network of the scale without a row; or a table or row of the scale that is not known.
    """
    with Path(path).open(newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise SBSError(f"{path}: columns are {reader.fieldnames}, expected {list(COLUMNS)}")
        rows = [
            _experiment(row, f"{path}, line {reader.line_num}", scale, tables) for row in reader
        ]
    keys = [(row.network, row.method, row.variant) for row in rows]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise SBSError(f"{path}: {' '.join(twice)} appears twice; change one of the variants")
    absent = next((name for name in scale.networks if name not in {r.network for r in rows}), None)
    if absent is not None:
        raise SBSError(
            f"networks: {absent}: no row in {path}; add one, or remove it from the scale file"
        )
    rows = _taken(rows, scale, path, tables)
    return [row for row in rows if row.network in scale.networks]


def check_rows(table: str, rows: Sequence[Experiment], scale: Scale, source: str) -> None:
    """Check that a table or figure has rows at this scale.

    Args:
        table: its name.
        rows: those of :func:`load_experiments`.
        scale: the validated scale.
        source: file of the scale, for the message.

    Raises:
        SBSError: it has none; the message says why.
    """
    if any(table in row.tables for row in rows):
        return
    settings = scale.tables.get(table)
    if settings is None or settings.rows is None:
        why = (
            f"no row of config/experiments.tsv for {', '.join(scale.networks)} has {table} in its "
            f"column tables; add it to a row, or a network to networks in {source}"
        )
    else:
        named = ", ".join(settings.rows)
        why = f"{source} has tables.{table}.rows: [{named}]; remove the entry to make it"
    raise SBSError(f"{table} is not made at this scale: {why}")


def _taken(
    rows: Sequence[Experiment], scale: Scale, path: Path, tables: Collection[str]
) -> list[Experiment]:
    """The rows, each with the tables that take it at this scale; without those that none takes."""
    for table, settings in scale.tables.items():
        if table not in tables:
            raise SBSError(
                f"tables.{table}: no notebook registers it for rows of {path}; known names are "
                f"{', '.join(sorted(tables))}"
            )
        known = [row.label for row in rows if table in row.tables]
        whole = [f"{row.network}/{row.label}" for row in rows if table in row.tables]
        named = settings.rows or ()
        absent = next((name for name in named if name not in (*known, *whole)), None)
        if absent is not None:
            raise SBSError(
                f"tables.{table}.rows: {absent}: no such row in {path} is for this table; known "
                f"are {', '.join(dict.fromkeys(known))}"
            )
    taken = []
    for row in rows:
        users = tuple(table for table in row.tables if _takes(scale.tables.get(table), row))
        if users or not row.tables:
            taken.append(replace(row, tables=users))
    return taken


def _takes(settings: TableSettings | None, row: Experiment) -> bool:
    if settings is None or settings.rows is None:
        return True
    return row.label in settings.rows or f"{row.network}/{row.label}" in settings.rows


def _experiment(
    row: dict[str, str], where: str, scale: Scale, tables: Collection[str]
) -> Experiment:
    if any(value is None for value in row.values()):
        raise SBSError(f"{where}: a row needs {len(COLUMNS)} columns, separated by tabs")
    if not LABEL.fullmatch(row["variant"]):
        raise SBSError(f"{where}: variant {row['variant']!r}: use a-z, 0-9 and hyphens")
    used = tuple(row["tables"].split())
    unknown = next((name for name in used if name not in tables), None)
    if unknown is not None:
        raise SBSError(
            f"{where}: tables: no notebook registers {unknown!r}; known names are "
            f"{', '.join(sorted(tables))}"
        )
    try:
        network(row["network"])
        searched(row["method"])
        options = scale.options_of(row["network"]) | parse_overrides(row["options"])
        for stage in ("search", "finetune"):
            stage_settings(scale, stage, options, row["method"])
    except SBSError as error:
        raise SBSError(f"{where}: {error}") from error
    return Experiment(row["network"], row["method"], row["variant"], used, options)
