"""Searched configurations: bitwidths and pruned filters of every layer, for every seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from sbs.cost.facts import NetworkFacts, network_facts
from sbs.cost.layers import LayerShape, prune_shapes
from sbs.policy import Policy
from sbs.provenance.records import RunRecord
from sbs.registry.datasets import dataset


def configurations(records: Sequence[RunRecord], policies: Sequence[Policy]) -> pd.DataFrame:
    """What searches chose for every layer.

    Args:
        records: searches of any networks and methods.
        policies: the policy of each of them, in the same order.

    Returns:
        One row per search and layer; the layers of a search are in forward order. ``network``,
        ``method``, ``variant`` and ``seed`` name the search, ``position`` (from 1) and ``layer``
        the layer. ``weight_bits`` and ``activation_bits`` (of its input); ``pruned``, the share of
        its filters that was removed, from 0 to 1, and NaN for a layer that cannot lose filters;
        ``downsampling``, whether its output has fewer pixels than its input; ``kernel``, for
        example ``3x3``.

    Raises:
        SBSError: a policy does not fit the network of its record.
    """
    pairs = zip(records, policies, strict=True)
    return pd.DataFrame([row for record, policy in pairs for row in _rows(record, policy)])


def _rows(record: RunRecord, policy: Policy) -> Iterator[dict[str, Any]]:
    images = dataset(record.dataset)
    facts = network_facts(record.network, images.image, images.classes)
    shapes = {layer.name: layer.weight_shape for layer in facts.layers}
    policy.check(record.network, shapes, [one.layer for one in facts.prunables])
    pruned = _pruned(facts, policy)
    for position, layer in enumerate(facts.layers, start=1):
        chosen = policy.layers[layer.name]
        yield {
            **{key: getattr(record, key) for key in ("network", "method", "variant", "seed")},
            "position": position,
            "layer": layer.name,
            "weight_bits": chosen.weight_bits,
            "activation_bits": chosen.activation_bits,
            "pruned": pruned.get(layer.name),
            "downsampling": _downsamples(layer),
            "kernel": "x".join(map(str, layer.kernel)),
        }


def _pruned(facts: NetworkFacts, policy: Policy) -> dict[str, float]:
    """Share of removed filters, of every layer that can lose some."""
    whole = {layer.name: layer.out_channels for layer in facts.layers}
    left = prune_shapes(facts.layers, facts.prunables, policy)
    can_lose = {name for one in facts.prunables for name in (one.layer, *one.producers)}
    return {
        layer.name: 1 - layer.out_channels / whole[layer.name]
        for layer in left
        if layer.name in can_lose
    }


def _downsamples(layer: LayerShape) -> bool:
    """Whether the output has fewer pixels; in a block this includes a shortcut with stride."""
    return layer.output_size < layer.input_size
