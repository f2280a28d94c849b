"""What ran on a sample of a dataset, without accuracies: the networks have learnt nothing."""

from __future__ import annotations

import pandas as pd

from sbs.registry.methods import methods
from sbs.results.quantities import COSTS
from sbs.results.rendering import COSTS as COST_COLUMNS
from sbs.results.rows import label

SHOWN_COSTS = ("bops", "bitfusion-latency", "bitfusion-energy")
OTHERS = {
    "search_seconds": "search (s)",
    "train_seconds": "fine-tuning (s)",
    "resource": "target of",
    "found_over_target": "found / target",
    "landing_flips": "flips",
}
"""Column of the runs -> heading."""


def what_ran(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run, in the order of the methods: times, and what the search chose.

    Args:
        runs: rows of :func:`sbs.results.collect.collect`.

    Returns:
        ``network``, ``method``, ``variant``; the costs of :data:`SHOWN_COSTS` in the units of other
        tables; and the columns of :data:`OTHERS`, where ``target of`` is the cost that the search
        had a target for.
    """
    order = runs["method"].map({name: known.order for name, known in methods().items()})
    searched = runs["resource"].where(runs["target"].notna())
    sorted_runs = runs.assign(order=order, resource=searched).sort_values(
        ["network", "order", "variant", "seed"], ignore_index=True
    )
    names = sorted_runs["method"].map(lambda name: label(str(name)))
    table = sorted_runs[["network"]].assign(method=names, variant=sorted_runs["variant"])
    for resource in SHOWN_COSTS:
        quantity = COSTS[resource]
        values = sorted_runs[quantity.column] / quantity.scale
        table[COST_COLUMNS[resource].heading] = values
    return table.assign(**{name: sorted_runs[column] for column, name in OTHERS.items()})
