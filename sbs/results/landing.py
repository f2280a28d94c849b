"""How searches end by themselves, before the landing step."""

from __future__ import annotations

import pandas as pd

from sbs.results.rows import label

KEY = ["network", "method", "resource"]
ALL = "all searches"
STEADY = 0.03
"""The settled cost of a steady search varies by at most this, over the last fifth."""


def landing_table(runs: pd.DataFrame) -> pd.DataFrame:
    """How often searches with gates met their target by themselves, and how steady they were.

    Args:
        runs: rows of :func:`sbs.results.collect.collect`.

    Returns:
        One row per network, method and resource, and a last one for all: ``searches``; ``in_band``
        and ``steady``, both in percent of them; ``most_flips``, the largest number of gates that a
        landing step changed; ``largest_variation`` of the settled cost over the last fifth of a
        search, in percent.
    """
    searches = runs[runs["landing_flips"].notna()]
    rows = [
        {"network": network, "method": label(str(method)), "resource": resource, **_counts(group)}
        for (network, method, resource), group in searches.groupby(KEY)
    ]
    if rows:
        rows.append({"network": ALL, "method": "", "resource": "", **_counts(searches)})
    return pd.DataFrame(rows)


def _counts(group: pd.DataFrame) -> dict[str, float]:
    return {
        "searches": len(group),
        "in_band": 100 * float((group["landing_flips"] == 0).mean()),
        "steady": 100 * float((group["settled_variation"] <= STEADY).mean()),
        "most_flips": int(group["landing_flips"].max()),
        "largest_variation": 100 * float(group["settled_variation"].max()),
    }
