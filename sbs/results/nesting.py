"""Whether a search with a smaller target removes what one with a larger target removes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any, TypeAlias

import pandas as pd

from sbs.cost.facts import network_facts
from sbs.policy import Policy
from sbs.provenance.records import RunRecord
from sbs.registry.datasets import dataset

Decision: TypeAlias = tuple[Any, Any]
"""Place and decision in it: bits of a gate and its tensor, or a layer and the index of a filter."""

COLUMNS = ["network", "method", "kind", "dearer", "cheaper", "seeds", "closed", "nested", "chance"]


def nesting(records: Sequence[RunRecord], policies: Sequence[Policy]) -> pd.DataFrame:
    """Compare the policies of the same method and seed for different targets, one after the other.

    Args:
        records: searches of any networks and methods, each with a target.
        policies: the policy of each of them, in the same order.

    Returns:
        One row per network, method, kind of decision (``bits`` or ``filters``) and pair of
        neighbouring targets: the variants ``dearer`` and ``cheaper``; ``seeds``. In percent, means
        over seeds: ``closed``, how many of all gates or filters the dearer policies closed;
        ``nested``, how many of these the cheaper ones closed too; ``chance``, how many they would
        have closed at random, if they had closed as many gates of each bitwidth, and as many
        filters of each layer, as they did.
    """
    searches = sorted(zip(records, policies, strict=True), key=lambda search: _place(search[0]))
    rows = [
        row
        for _, group in groupby(searches, key=lambda search: _place(search[0])[:3])
        for dearer, cheaper in pairwise(group)
        for row in _rows(dearer, cheaper)
    ]
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.DataFrame(rows).groupby(COLUMNS[:5], sort=False)
    return table.mean().assign(seeds=table.size()).reset_index()[COLUMNS]


def _place(record: RunRecord) -> tuple[str, str, int, float]:
    """Order of a search; those that differ only in their last part are compared."""
    assert record.target is not None
    return record.network, record.method, record.seed, -record.target


def _rows(
    dearer: tuple[RunRecord, Policy], cheaper: tuple[RunRecord, Policy]
) -> Iterator[dict[str, Any]]:
    first, second = _decisions(*dearer), _decisions(*cheaper)
    for kind, (before, possible) in first.items():
        after = second[kind][0]
        if before:
            yield {
                **{"network": dearer[0].network, "method": dearer[0].method, "kind": kind},
                **{"dearer": dearer[0].variant, "cheaper": cheaper[0].variant},
                "closed": 100 * len(before) / possible.total(),
                "nested": 100 * len(before & after) / len(before),
                "chance": 100 * _at_random(before, after, possible) / len(before),
            }


def _at_random(before: set[Decision], after: set[Decision], possible: Counter[Any]) -> float:
    """How many of ``before`` would be in a random ``after`` with as many in each place."""
    closed = Counter(place for place, _ in after)
    return sum(closed[place] / possible[place] for place, _ in before)


def _decisions(record: RunRecord, policy: Policy) -> dict[str, tuple[set[Decision], Counter[Any]]]:
    """What a policy has closed, and how much it could in each place, by kind of decision."""
    images = dataset(record.dataset)
    facts = network_facts(record.network, images.image, images.classes)
    candidates = record.settings["search"]["bitwidths"]
    gates = {
        (bits, (shape.name, side))
        for shape in facts.layers
        for side in ("weight_bits", "activation_bits")
        for bits in candidates[1:]
        if not shape.end
    }
    closed = {
        (bits, (name, side))
        for bits, (name, side) in gates
        if getattr(policy.layers[name], side) < bits
    }
    filters = {shape.name: shape.out_channels for shape in facts.layers}
    names = [one.layer for one in facts.prunables]
    removed = {
        (name, index)
        for name in names
        if (kept := policy.layers[name].kept) is not None
        for index in set(range(filters[name])) - set(kept)
    }
    return {
        "bits": (closed, Counter(bits for bits, _ in gates)),
        "filters": (removed, Counter({name: filters[name] for name in names})),
    }
