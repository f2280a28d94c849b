"""Rows of the paper's tables about networks that a scale has not run."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from sbs.registry.networks import networks
from sbs.results.fixed_costs import METRICS, fixed_bits, fixed_costs
from sbs.results.published import is_ours
from sbs.results.rendering import MISSING, number
from sbs.results.rows import Variants, label

HEADINGS = {
    "bops_m": "BOPs (M)",
    "bops_g": "BOPs (G)",
    "bop_ratio": "ratio",
    "memory_kb": "memory (KB)",
    "memory_ratio": "ratio",
    "latency_ms": "latency (ms)",
    "energy_mj": "energy (mJ)",
    "top1": "top-1 (%)",
    "top5": "top-5 (%)",
}
DIGITS = 2


def not_run(
    table: pd.DataFrame, published: pd.DataFrame, name: str, variants: Variants | None = None
) -> str:
    """Markdown with the paper's rows of networks that are not in a table of runs.

    The costs of full and fixed precision need no training; they stand beside the printed ones.
    Methods that the paper quotes are left out.

    Args:
        table: table of :func:`sbs.results.tables.table_of_runs`.
        published: the paper's values: table, dataset, network, method, metric, value.
        name: name of the paper's table.
        variants: rows of single variants, as for the table of runs.

    Returns:
        A section, or nothing if all networks of the paper's table were run.
    """
    known = networks()
    run = {known[one].published if one in known else one for one in table["network"]}
    labels = {row.name: row.label for row in (variants or {}).values()}
    ours = published["method"].map(is_ours) & ~published["network"].isin(run)
    rows = published[(published["table"] == name) & ours]
    if rows.empty:
        return ""
    shown = rows.pivot_table("value", ["network", "method"], "metric", sort=False).reset_index()
    computed = _computed(rows)
    metrics = [metric for metric in HEADINGS if metric in shown]
    cells = [
        {"Network": row["network"], "Method": labels.get(row["method"]) or label(row["method"])}
        | {
            heading: text
            for metric in metrics
            for heading, text in _cells(metric, row, computed).items()
        }
        for row in shown.to_dict("records")
    ]
    rendered = pd.DataFrame(cells)
    rendered = rendered.loc[:, (rendered != MISSING).any()]
    return "\n".join(
        [
            *("", "## Not run at this scale", ""),
            "What the paper prints, and the costs of full and fixed precision as computed here:",
            "they need no training.",
            *("", rendered.to_markdown(index=False, disable_numparse=True), ""),
        ]
    )


def _computed(rows: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """Computed costs by network and method as the paper names them, and metric."""
    fixed = rows[rows["metric"].isin(METRICS) & rows["method"].map(fixed_bits).notna()]
    keys = zip(fixed["network"], fixed["method"], fixed["metric"], strict=True)
    costs = [] if fixed.empty else list(fixed_costs(fixed)["computed"])
    return dict(zip(keys, costs, strict=True))


def _cells(
    metric: str, row: Mapping[Hashable, Any], computed: dict[tuple[str, str, str], float]
) -> dict[str, str]:
    own = computed.get((row["network"], row["method"], metric))
    printed, heading = row[metric], HEADINGS[metric]
    cells = {f"published {heading}": MISSING if pd.isna(printed) else f"{printed:.1f}"}
    return {heading: number(own, DIGITS)} | cells if metric in METRICS else cells
