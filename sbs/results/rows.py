"""Which row of a table a run belongs to. It follows from the run's method and settings."""

from __future__ import annotations

import pandas as pd

from sbs.errors import SBSError
from sbs.registry.methods import methods

PAPER_ROWS = {("sbs_q", False): ("sbs_q_without_sharing", "SBS-Q without bit sharing")}
"""(method, bit sharing) of a run to the name and label of its row, where these are not the
method's own. The names are those of the published values."""

LAST = 10**9
"""Position of methods that are not installed."""


def with_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with the columns ``row``, ``label`` and ``order`` of their rows in a table.

    Args:
        runs: what :func:`sbs.results.collect.collect` gives of a selection of the sheet.

    Raises:
        SBSError: runs of several variants would fall into one row.
    """
    keys = list(zip(runs["method"], runs["bit_sharing"], strict=True))
    named = runs.assign(
        row=[PAPER_ROWS[key][0] if key in PAPER_ROWS else key[0] for key in keys],
        label=[PAPER_ROWS[key][1] if key in PAPER_ROWS else label(key[0]) for key in keys],
        order=[_order(method) for method in runs["method"]],
    )
    for (network, row), group in named.groupby(["network", "row"]):
        variants = sorted(set(group["variant"]))
        if len(variants) > 1:
            raise SBSError(
                f"several variants of {network} {row} in one table: {', '.join(variants)}; give "
                "the table to one of them only (column tables of config/experiments.tsv)"
            )
    return named


def label(method: str) -> str:
    """What people call a method; its name if it is not installed."""
    known = methods().get(method)
    return known.label if known else method


def _order(method: str) -> int:
    known = methods().get(method)
    return known.order if known else LAST
