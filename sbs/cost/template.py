"""The rows that a table of costs (:mod:`sbs.cost.table`) needs for a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from sbs.cost.layers import LayerShape, with_channels
from sbs.cost.table import write_table
from sbs.cost.trace import trace_layers
from sbs.networks import get_spec
from sbs.networks.prunable import Prunable
from sbs.policy import ENDS_BITS
from sbs.registry.costs import cost_model

BITS = (2, 4, 8)
"""Candidate bitwidths, if none are given: those of the paper."""


def write_template(
    network: str,
    bits: Sequence[int],
    steps: int,
    output: Path,
    classes: int | None = None,
    image_size: int | None = None,
    channels: int = 3,
    resource: str | None = None,
) -> None:
    """Write a table with every layer, number of channels and pair of bits that a search needs.

    Args:
        network: network name.
        bits: candidate bitwidths of the layers between the first and the last; those two have 8.
        steps: numbers of channels of a layer that can be pruned: equal steps up to all of them.
        output: the CSV file.
        classes: number of outputs; default: as in the paper's dataset for this network.
        image_size: height and width of an image; default: as in that dataset.
        channels: colour channels of an image.
        resource: cost model to fill the costs in from; None leaves them empty, to be measured.

    Raises:
        SBSError: the network or the cost model is unknown, or the model does not know a layer.
    """
    spec = get_spec(network)
    size = image_size or spec.image_size
    model = spec.build(classes or spec.classes, channels)
    layers = trace_layers(model, (channels, size, size))
    cost = None if resource is None else cost_model(resource).layer
    # The name and place of a layer are not in the table; its first occurrence stands for all.
    distinct: dict[tuple[LayerShape, int, int], tuple[LayerShape, int, int]] = {}
    for shape, weights, inputs in _rows(layers, spec.prunables(model), sorted(set(bits)), steps):
        key = replace(shape, name="", first=False), weights, inputs
        distinct.setdefault(key, (shape, weights, inputs))
    write_table(
        ((*row, None if cost is None else float(cost(*row))) for row in distinct.values()), output
    )


def _rows(
    layers: Sequence[LayerShape], prunables: Sequence[Prunable], bits: Sequence[int], steps: int
) -> Iterator[tuple[LayerShape, int, int]]:
    written = {name for one in prunables for name in (one.layer, *one.producers)}
    read = {span.name for one in prunables for span in one.consumers}
    for place, shape in enumerate(layers):
        ends = place in (0, len(layers) - 1)
        pairs = [(ENDS_BITS, ENDS_BITS)] if ends else list(product(bits, bits))
        filters = _counts(shape.out_channels, steps if shape.name in written else 1)
        inputs = _counts(shape.in_channels, steps if shape.name in read else 1)
        for kept, seen in product(filters, inputs):
            for pair in pairs:
                yield with_channels(shape, kept, seen), *pair


def _counts(channels: int, steps: int) -> list[int]:
    return sorted({max(1, channels * step // steps) for step in range(1, steps + 1)})
