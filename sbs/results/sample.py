"""What ran on a sample of a dataset, without accuracies: the networks have learnt nothing."""

from __future__ import annotations

import pandas as pd

from sbs.registry.methods import methods
from sbs.results.rows import label

COLUMNS = {
    "search_seconds": "search (s)",
    "train_seconds": "fine-tuning (s)",
    "bops_m": "BOPs (M)",
    "bop_ratio": "ratio",
    "latency_ms": "latency (ms)",
    "energy_mj": "energy (mJ)",
    "resource": "target of",
    "found_over_target": "found / target",
    "landing_flips": "flips",
}
"""Column of the table -> heading."""


def what_ran(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run, in the order of the methods: times, and what the search chose.

    Args:
        runs: rows of :func:`sbs.results.collect.collect`.

    Returns:
        ``network``, ``method``, ``variant`` and the columns of :data:`COLUMNS`. BOPs are in
        millions, ``ratio`` is that of full precision over them.
    """
    known = methods()
    table = runs.assign(
        bops_m=runs["bops"] / 1e6,
        order=[known[name].order for name in runs["method"]],
        label=[label(str(name)) for name in runs["method"]],
        resource=runs["resource"].where(runs["target"].notna()),
    ).sort_values(["network", "order", "variant"], ignore_index=True)
    chosen = table[["network", "label", "variant", *COLUMNS]]
    return chosen.rename(columns={"label": "method", **COLUMNS})
