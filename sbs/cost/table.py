"""A cost from a table: what layers were measured to cost on somebody's device.

The table is a CSV file with the columns :data:`COLUMNS`. A row says what a layer costs with certain
numbers of channels and bits. Between rows that differ in nothing but channels, costs are
interpolated linearly: first in the filters, for each number of input channels, and then in the
input channels. Without channels a layer costs nothing. So one row a layer makes its cost
proportional to its channels, and more rows follow the device more closely.
"""

from __future__ import annotations

import csv
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from sbs.cost.layers import LayerShape
from sbs.errors import SBSError
from sbs.provenance.files import atomic_write
from sbs.registry.costs import CostModel

COST = "cost"
SIZES = (
    *("kernel_height", "kernel_width", "groups"),
    *("input_height", "input_width", "output_height", "output_width"),
)
CHANNELS = ("in_channels", "out_channels")
BITS = ("weight_bits", "activation_bits")
COLUMNS = ("kind", *CHANNELS, *SIZES, *BITS, COST)
"""Columns of the file; ``kind`` is conv or linear, ``cost`` of any unit."""

DEPTHWISE = 0
"""Number of groups in the key of a layer whose filters each read one channel of their own."""


class Key(NamedTuple):
    """What must be equal in the table; channels are interpolated."""

    kind: str
    sizes: tuple[int, ...]
    weight_bits: int
    activation_bits: int


Curve: TypeAlias = dict[int, float]
"""Costs by a number of channels."""


def table_cost(curves: Mapping[int, Curve], inputs: int, filters: int) -> float | None:
    """Interpolated cost of a layer.

    Args:
        curves: by number of input channels, the costs by number of filters.
        inputs: input channels of the layer.
        filters: filters of the layer.

    Returns:
        None if the layer is larger than all that were measured.
    """
    known = {read: _between(curve, filters) for read, curve in curves.items()}
    return _between({read: cost for read, cost in known.items() if cost is not None}, inputs)


def table(path: str) -> CostModel:
    """The cost model of a file.

    Args:
        path: a CSV file.

    Raises:
        SBSError: the file cannot be read, or is malformed; the message names the line.
    """
    rows = _read(Path(path))

    def layer(shape: LayerShape, weight_bits: int, activation_bits: int) -> float:
        for key, inputs in _keys(shape, weight_bits, activation_bits):
            found = table_cost(rows.get(key, {}), inputs, shape.out_channels)
            if found is not None:
                return found
        raise SBSError(
            f"{path}: no row for layer {shape.name} with {weight_bits}-bit weights and "
            f"{activation_bits}-bit inputs; `sbs cost-table` lists the rows that a network needs"
        )

    label = f"cost by {path}"
    return CostModel("table", label, "", 1.0, layer, closed_form=False, file=Path(path))


def write_table(rows: Iterable[tuple[LayerShape, int, int, float | None]], path: Path) -> None:
    """Write the rows of a table.

    Args:
        rows: layer, weight bits, activation bits and cost; no cost where it is to be filled in.
        path: the file.
    """
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for shape, weight_bits, activation_bits, cost in rows:
            sizes = (*shape.kernel, shape.groups, *shape.input_size, *shape.output_size)
            channels = shape.in_channels, shape.out_channels
            filled = "" if cost is None else repr(cost)
            writer.writerow([shape.kind, *channels, *sizes, weight_bits, activation_bits, filled])


def _keys(shape: LayerShape, weight_bits: int, activation_bits: int) -> Iterator[tuple[Key, int]]:
    """Keys under which a layer can stand in the table, each with its input channels there."""
    rest = (*shape.input_size, *shape.output_size)
    depthwise = Key(shape.kind, (*shape.kernel, DEPTHWISE, *rest), weight_bits, activation_bits)
    if not shape.depthwise:
        sizes = (*shape.kernel, shape.groups, *rest)
        yield Key(shape.kind, sizes, weight_bits, activation_bits), shape.in_channels
    if shape.groups == shape.in_channels:  # also a depthwise layer with one filter left
        yield depthwise, 1


def _read(path: Path) -> dict[Key, dict[int, Curve]]:
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            if set(reader.fieldnames or ()) != set(COLUMNS):
                raise SBSError(f"{path}: the columns must be {', '.join(COLUMNS)}")
            found: dict[Key, dict[int, Curve]] = {}
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                key, (inputs, filters), cost = _point(row, where)
                curve = found.setdefault(key, {}).setdefault(inputs, {})
                if filters in curve:
                    raise SBSError(f"{where}: this layer stands twice; remove one of the rows")
                curve[filters] = cost
    except OSError as error:
        raise SBSError(f"{path}: cannot read the table of costs: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SBSError(f"{path}: not a text file") from error
    return found


def _point(row: Mapping[str, str], where: str) -> tuple[Key, tuple[int, int], float]:
    numbers = {name: _whole(row, name, where) for name in (*CHANNELS, *SIZES, *BITS)}
    if row["kind"] not in ("conv", "linear"):
        raise SBSError(f"{where}: kind: {row['kind']!r}; write conv or linear")
    if not row[COST]:
        raise SBSError(f"{where}: cost is empty; measure this layer, or remove the row")
    inputs, filters = (numbers[name] for name in CHANNELS)
    if numbers["groups"] == inputs > 1:
        numbers["groups"], inputs = DEPTHWISE, 1
    sizes = tuple(numbers[name] for name in SIZES)
    key = Key(row["kind"], sizes, *(numbers[name] for name in BITS))
    return key, (inputs, filters), _cost(row[COST], where)


def _whole(row: Mapping[str, str], name: str, where: str) -> int:
    text = row[name] or ""
    if not text.isdecimal() or int(text) == 0:
        raise SBSError(f"{where}: {name}: {text!r}; write a whole number from 1 on")
    return int(text)


def _cost(text: str, where: str) -> float:
    try:
        cost = float(text)
    except ValueError:
        cost = math.nan
    if not 0 < cost < math.inf:
        raise SBSError(f"{where}: cost: {text!r}; write a positive number")
    return cost


def _between(curve: Curve, count: int) -> float | None:
    """Value of a curve through 0, or None beyond its end."""
    counts = [0, *sorted(curve)]
    if count > counts[-1]:
        return None
    above = counts[bisect_left(counts, count)]
    if above == count:
        return curve[count]
    below = counts[bisect_left(counts, count) - 1]
    share = (count - below) / (above - below)
    return (1 - share) * curve.get(below, 0.0) + share * curve[above]


COSTS = (
    CostModel(
        "table",
        "cost by a table",
        "",
        1.0,
        lambda shape, weight_bits, activation_bits: math.nan,
        closed_form=False,
        configured=table,
        argument="table:costs.csv, with the path of your table",
    ),
)
