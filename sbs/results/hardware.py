"""Latency and energy of a policy on the accelerator of Table 6."""

from __future__ import annotations

import math

from sbs.cost.exact import policy_cost
from sbs.cost.facts import network_facts
from sbs.errors import SBSError
from sbs.policy import Policy, uniform_policy
from sbs.provenance.records import RunRecord
from sbs.registry.costs import cost_model
from sbs.registry.datasets import dataset

COLUMNS = {
    "bitfusion-latency": ("latency_seconds", "latency_ratio"),
    "bitfusion-energy": ("energy_joules", "energy_ratio"),
}
"""Cost model -> columns of the cost, and of the cost with the model's highest bits over it."""


def hardware(search: RunRecord, policy: Policy) -> dict[str, float]:
    """The columns :data:`COLUMNS` of a run; NaN for a network that the accelerator cannot run.

    Args:
        search: record of the search.
        policy: its policy.
    """
    images = dataset(search.dataset)
    facts = network_facts(search.network, images.image, images.classes)
    names = [layer.name for layer in facts.layers]
    cells: dict[str, float] = {}
    for resource, columns in COLUMNS.items():
        highest = uniform_policy(search.network, names, cost_model(resource).highest_bits)
        try:
            cost, whole = (
                policy_cost(facts.layers, facts.prunables, one, resource)
                for one in (policy, highest)
            )
        except SBSError:
            cost = whole = math.nan
        cells |= dict(zip(columns, (cost, whole / cost), strict=True))
    return cells
