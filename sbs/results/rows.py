"""The table row of a run. It follows from the run's method and settings."""

from __future__ import annotations

import pandas as pd

from sbs.errors import SBSError
from sbs.registry.methods import methods

LAST = 10**9
"""Position of methods that are not installed."""


def with_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with the columns ``row``, ``label`` and ``order`` of their table rows.

    Args:
        runs: rows of :func:`sbs.results.collect.collect` that the sheet selects.

    Raises:
        SBSError: runs of several variants would be in one row.
    """
    named_rows = list(map(_row, runs["method"], runs["bit_sharing"]))
    named = runs.assign(
        row=[name for name, _ in named_rows],
        label=[text for _, text in named_rows],
        order=[_order(method) for method in runs["method"]],
    )
    for (network, row), group in named.groupby(["network", "row"]):
        variants = sorted(set(group["variant"]))
        if len(variants) > 1 and not _pools(group["method"].iloc[0]):
            raise SBSError(
                f"several variants of {network} {row} in one table: {', '.join(variants)}; give "
                "the table to only one of them (column tables of config/experiments.tsv)"
            )
    return named


def label(method: str) -> str:
    """Label of a method; its name if the method is not installed."""
    known = methods().get(method)
    return known.label if known else method


def _pools(method: str) -> bool:
    known = methods().get(method)
    return known is not None and known.pools_variants


def _row(method: str, bit_sharing: bool | float | None) -> tuple[str, str]:
    """Name and label of a run's row; ``bit_sharing`` is empty for a run without a search."""
    known = methods().get(method)
    apart = not pd.isna(bit_sharing) and not bit_sharing
    if known is not None and known.without_sharing is not None and apart:
        return known.without_sharing
    return method, label(method)


def _order(method: str) -> int:
    known = methods().get(method)
    return known.order if known else LAST
