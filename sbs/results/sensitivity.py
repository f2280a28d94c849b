"""Test of loss-awareness: did a search keep the bits of the tensors that need them?

A search of method ``sensitivity`` has measured what the second-lowest bitwidth of every tensor is
worth. Another search has decided for each tensor how often to open that gate. Rank correlations
compare the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from scipy import stats

from sbs.errors import SBSError
from sbs.methods.sensitivity import SENSITIVITY
from sbs.methods.sensitivity.allocation import benefits
from sbs.provenance.records import RunRecord
from sbs.results.rows import label
from sbs.results.statistics import CONFIDENCE

TENSOR = ["layer", "side"]
MEASURES = {
    "benefit": "loss saved",
    "benefit_per_cost": "loss saved per cost",
}
"""Column -> what it is, for people."""


def measured_benefits(records: Sequence[RunRecord]) -> pd.DataFrame:
    """What the second-lowest bitwidth of every tensor is worth, as the mean over seeds.

    Args:
        records: searches of method ``sensitivity`` on one network.

    Returns:
        One row per tensor: ``layer``, ``side``, ``benefit`` (loss that it saves), and
        ``benefit_per_cost`` (that divided by the increase of log cost).
    """
    rows: list[dict[str, Any]] = []
    for record in records:
        bits = record.settings["search"]["bitwidths"][1]
        level = [entry for entry in record.history if entry["bits"] == bits]
        cost = {(entry["layer"], entry["side"]): entry["cost"] for entry in level}
        rows += [
            {
                "layer": layer,
                "side": side,
                "benefit": benefit,
                "benefit_per_cost": benefit / math.log(cost[None, None] / cost[layer, side]),
            }
            for (layer, side, _), benefit in benefits(level).items()
        ]
    return pd.DataFrame(rows).groupby(TENSOR, sort=False).mean().reset_index()


def open_gates(records: Sequence[RunRecord]) -> pd.DataFrame:
    """How often a search opened the first gate of every tensor, as the mean over seeds.

    Args:
        records: searches with gates, of any methods, on one network.

    Returns:
        One row per method and tensor: ``method``, ``layer``, ``side``, ``open`` (0 to 1).
    """
    rows = [
        {"method": record.method, "layer": layer, "side": side, "open": shares[0]}
        for record in records
        for side in ("weight_bits", "activation_bits")
        for layer, shares in _shares(record)[side].items()
    ]
    keys = ["method", *TENSOR]
    return pd.DataFrame(rows).groupby(keys, sort=False).mean().reset_index()


def beside(records: Sequence[RunRecord]) -> pd.DataFrame:
    """:func:`open_gates` beside :func:`measured_benefits` of the same network.

    Args:
        records: searches of one network, some of them of method ``sensitivity``.

    Raises:
        SBSError: several networks, or no search of ``sensitivity`` or none with gates.
    """
    networks = sorted({record.network for record in records})
    measured = [record for record in records if record.method == SENSITIVITY]
    decided = [record for record in records if record.method != SENSITIVITY]
    if len(networks) != 1 or not measured or not decided:
        raise SBSError(
            "the table sensitivity needs rows of one network: one of the method sensitivity, and "
            f"others with gates; config/experiments.tsv gives it {len(measured)} and "
            f"{len(decided)} runs of {', '.join(networks)}"
        )
    return open_gates(decided).merge(measured_benefits(measured), on=TENSOR)


def rank_correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of the open gates with each measure, with confidence intervals.

    The intervals are those of Bonett and Wright (2000), which take the tensors as independent.

    Args:
        table: table of :func:`beside`.

    Returns:
        One row per method and measure: ``method``, ``label``, ``measure``, ``tensors``,
        ``correlation``, ``low``, ``high``. NaN where all gates are equally often open.
    """
    rows = []
    for method, group in table.groupby("method", sort=False):
        for measure in MEASURES:
            correlation = float(stats.spearmanr(group["open"], group[measure]).statistic)
            low, high = spearman_interval(correlation, len(group))
            rows.append(
                {
                    "method": method,
                    "label": label(str(method)),
                    "measure": measure,
                    "tensors": len(group),
                    "correlation": correlation,
                    "low": low,
                    "high": high,
                }
            )
    return pd.DataFrame(rows)


def spearman_interval(correlation: float, size: int) -> tuple[float, float]:
    """Confidence interval of Spearman's rank correlation (Bonett and Wright 2000).

    Args:
        correlation: measured correlation.
        size: number of pairs, more than 3.
    """
    if math.isnan(correlation) or abs(correlation) == 1:
        return correlation, correlation
    reach = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    reach *= math.sqrt((1 + correlation**2 / 2) / (size - 3))
    centre = math.atanh(correlation)
    return math.tanh(centre - reach), math.tanh(centre + reach)


def _shares(record: RunRecord) -> dict[str, dict[str, list[float]]]:
    if record.open_shares is None:
        raise SBSError(
            f"{record.method} {record.network}: the record does not say how often gates were open; "
            "the table sensitivity needs a search with gates"
        )
    return record.open_shares
