"""What full and fixed precision cost: computed from the networks, beside the paper's numbers.

These costs follow from a network and its bits, so they need no training and hold at every scale.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from typing import NamedTuple

import pandas as pd

from sbs.cost.exact import policy_cost
from sbs.cost.facts import NetworkFacts, network_facts
from sbs.policy import FULL_PRECISION, uniform_policy
from sbs.registry.datasets import dataset
from sbs.registry.networks import networks


class Metric(NamedTuple):
    """How the paper prints a cost.

    Attributes:
        resource: the cost model.
        unit: what the cost is divided by; None for a reduction against full precision.
    """

    resource: str
    unit: int | None


METRICS = {
    "bops_m": Metric("bops", 10**6),
    "bops_g": Metric("bops", 10**9),
    "bop_ratio": Metric("bops", None),
    "memory_kb": Metric("memory", 10**3),
    "memory_ratio": Metric("memory", None),
}
FIXED = re.compile(r"fixed(\d+)(_\w+)?")


def fixed_costs(published: pd.DataFrame) -> pd.DataFrame:
    """Computed and printed costs of all rows of the paper about full or fixed precision.

    Args:
        published: columns table, dataset, network, method, metric, value.

    Returns:
        Columns ``table``, ``dataset``, ``network`` (our name), ``bits`` (32: full precision),
        ``metric``, ``published``, ``computed``, and ``equal``: whether the computed value, rounded
        to as many decimals, is the printed one.
    """
    names = {known.published: name for name, known in networks().items()}
    rows = []
    for row in published.to_dict("records"):
        bits = fixed_bits(row["method"])
        if bits is None or row["metric"] not in METRICS:
            continue
        name, printed = names[row["network"]], float(row["value"])
        computed = _cost(name, row["dataset"], bits, METRICS[row["metric"]])
        rows.append(
            {
                "table": row["table"],
                "dataset": row["dataset"],
                "network": name,
                "bits": bits,
                "metric": row["metric"],
                "published": printed,
                "computed": computed,
                "equal": _rounded(computed, printed) == Decimal(str(printed)),
            }
        )
    return pd.DataFrame(rows)


def rendering(costs: pd.DataFrame) -> str:
    """The table as Markdown, with the number of equal rows."""
    lines = ["# Costs of full and fixed precision", ""]
    lines += [
        f"{costs['equal'].sum()} of {len(costs)} printed costs are equal to the last digit.",
        "",
    ]
    return "\n".join([*lines, costs.to_markdown(index=False, floatfmt=".2f")]) + "\n"


def fixed_bits(method: str) -> int | None:
    """Bits of a row about full or fixed precision, such as ``fixed4``; None for other rows."""
    if method == "fp":
        return FULL_PRECISION
    match = FIXED.fullmatch(method)
    return int(match[1]) if match else None


def _cost(name: str, of_dataset: str, bits: int, metric: Metric) -> float:
    facts = _facts(name, of_dataset)
    names = [layer.name for layer in facts.layers]

    def cost(width: int) -> float:
        policy = uniform_policy(name, names, width)
        return policy_cost(facts.layers, facts.prunables, policy, metric.resource)

    return cost(FULL_PRECISION) / cost(bits) if metric.unit is None else cost(bits) / metric.unit


@cache
def _facts(name: str, of_dataset: str) -> NetworkFacts:
    images = dataset(of_dataset)
    return network_facts(name, images.image, images.classes)


def _rounded(value: float, like: float) -> Decimal:
    decimals = Decimal(str(like)).as_tuple().exponent
    return Decimal(str(value)).quantize(Decimal(1).scaleb(int(decimals)), ROUND_HALF_UP)
