"""The table row of a run. It follows from the run's method and settings, or from its variant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import pandas as pd

from sbs.errors import SBSError
from sbs.registry.methods import methods

LAST = 10**9
"""Position of methods that are not installed."""


class Row(NamedTuple):
    """A table row: its name, which is that of the published values, and its label for people."""

    name: str
    label: str


Variants: TypeAlias = Mapping[tuple[str, str], Row]
"""Rows of a table that compares variants: (method, variant) of the sheet -> row."""


def with_rows(runs: pd.DataFrame, variants: Variants | None = None) -> pd.DataFrame:
    """The runs with the columns ``row``, ``label``, ``order`` and ``place`` of their table rows.

    Args:
        runs: rows of :func:`sbs.results.collect.collect` that the sheet selects.
        variants: rows of single variants, in the order of the table; other runs have the row of
            their method.

    Raises:
        SBSError: runs of several variants would be in one row.
    """
    known = {} if variants is None else dict(variants)
    keys = list(zip(runs["method"], runs["variant"], strict=True))
    rows = [
        known.get(key) or _row(key[0], sharing)
        for key, sharing in zip(keys, runs["bit_sharing"], strict=True)
    ]
    named = runs.assign(
        row=[row.name for row in rows],
        label=[row.label for row in rows],
        order=[_order(method) for method in runs["method"]],
        place=[list(known).index(key) if key in known else -1 for key in keys],
    )
    for (network, row), group in named.groupby(["network", "row"]):
        found = sorted(set(group["variant"]))
        if len(found) > 1 and not _pools(group["method"].iloc[0]):
            raise SBSError(
                f"several variants of {network} {row} in one table: {', '.join(found)}; give "
                "the table to only one of them (column tables of config/experiments.tsv), or name "
                "a row for each in the notebook"
            )
    return named


def label(method: str) -> str:
    """Label of a method; its name if the method is not installed."""
    known = methods().get(method)
    return known.label if known else method


def _pools(method: str) -> bool:
    known = methods().get(method)
    return known is not None and known.pools_variants


def _row(method: str, bit_sharing: bool | float | None) -> Row:
    """The row of a method's run; ``bit_sharing`` is empty for a run without a search."""
    known = methods().get(method)
    apart = not pd.isna(bit_sharing) and not bit_sharing
    if known is not None and known.without_sharing is not None and apart:
        return Row(*known.without_sharing)
    return Row(method, label(method))


def _order(method: str) -> int:
    known = methods().get(method)
    return known.order if known else LAST
