"""Cycles and energy of one layer on a BitFusion accelerator (Sharma et al. 2018).

The model of the authors' simulator: a layer is cut into tiles that fit into half of each buffer,
and the tiles are worked through in some order of the loops over images, columns, rows, input
channels and filters. A buffer keeps a tensor for as long as what the inner loops need of it fits.
Of all tilings and orders the one with the fewest cycles counts, and of those the one with the least
energy. Layers do not overlap. Padding, pooling, batch norm, additions and nonlinearities cost
nothing, and images are square.
"""

from __future__ import annotations

from itertools import permutations, product
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sbs.cost.bitfusion.machine import Buffer, Machine
from sbs.cost.bitfusion.work import Simulated, Work, speedup
from sbs.errors import SBSError

Ints: TypeAlias = NDArray[np.int64]

LOOPS = ("images", "columns", "rows", "inputs", "filters")
INDEXED = {
    "weights": {"inputs", "filters"},
    "inputs": {"images", "columns", "rows", "inputs"},
    "outputs": {"images", "columns", "rows", "filters"},
}
"""The loops on which each tensor depends."""

ORDERS = np.array(
    [
        [LOOPS.index(loop) for loop in order]
        for order in permutations(LOOPS)
        if order.index("columns") < order.index("rows")
    ]
)
"""All orders of the loops, outermost first; images are square, so columns and rows are alike."""


def simulate(work: Work, machine: Machine) -> Simulated:
    """Cost of a layer with its best tiling and order of loops.

    Raises:
        SBSError: an operand has more than 8 bits, or no tiling fits into the buffers.
    """
    return _Plan(work, machine).best()


class _Plan:
    """All tilings of a layer that fit, as arrays."""

    def __init__(self, work: Work, machine: Machine) -> None:
        self.work, self.machine = work, machine
        self.channels = machine.rows * speedup(work.input_bits, work.weight_bits)
        images, size, inputs, filters = self._tiles()
        self.images, self.size, self.inputs, self.filters = images, size, inputs, filters
        self.counts = {
            "images": _parts(work.batch, images),
            "columns": _parts(work.size, size),
            "rows": _parts(work.size, size),
            "inputs": _parts(work.inputs, inputs),
            "filters": _parts(work.filters, filters),
        }
        self._keep_fitting()

    def _tiles(self) -> tuple[Ints, ...]:
        work = self.work
        unit = 1 if work.first else self.machine.columns
        choices = [
            _powers(1, work.batch),
            _powers(1, work.size),
            _powers(1, work.inputs),
            _powers(unit, work.filters),
        ]
        return tuple(np.array(list(product(*choices)), dtype=np.int64).T)

    def _keep_fitting(self) -> None:
        fits = np.ones(len(self.images), dtype=bool)
        for name, bits in self.tile_bits().items():
            fits &= bits <= self._buffer(name).tile_bits
        if not fits.any():
            raise SBSError(
                f"BitFusion: no tile of a layer with {self.work.inputs} input channels and kernel "
                f"{self.work.kernel} fits into half of the buffers; take larger buffers"
            )
        for name in ("images", "size", "inputs", "filters"):
            setattr(self, name, getattr(self, name)[fits])
        self.counts = {name: count[fits] for name, count in self.counts.items()}

    def _buffer(self, name: str) -> Buffer:
        buffer = getattr(self.machine, name)
        assert isinstance(buffer, Buffer)
        return buffer

    @property
    def padded_filters(self) -> Ints:
        """Filters of a tile, up to whole columns of the array."""
        return _parts(self.filters, self.machine.columns) * self.machine.columns

    @property
    def padded_products(self) -> Ints:
        """Products of one output in a tile, up to whole rows of the array."""
        return self._passes() * self.channels

    @property
    def positions(self) -> Ints:
        """Output pixels of a tile."""
        return self.images * self.size**2

    def _passes(self) -> Ints:
        """Cycles of the array for one output pixel of a column of filters."""
        area = self.work.kernel**2
        if self.work.patches:
            return _parts(area * self.inputs, self.channels)
        return area * _parts(self.inputs, self.channels)

    def tile_bits(self) -> dict[str, Ints]:
        """Bits of a tile of each tensor."""
        work, area = self.work, self.work.kernel**2
        rows = _parts(area * self.inputs, self.channels) * self.channels
        pixels = (
            self.size**2 * area
            if work.patches
            else (work.kernel + (self.size - 1) * work.stride) ** 2
        )
        return {
            "weights": rows * self.filters * work.weight_bits,
            "inputs": pixels * self.inputs * self.images * work.input_bits,
            "outputs": self.positions * self.padded_filters * self.machine.output_bits,
        }

    def best(self) -> Simulated:
        """The best order and tiling; of equally good ones the first."""
        machine = self.machine
        moved, resident = {}, {}
        for name, bits in self.tile_bits().items():
            moved[name], resident[name] = self._reuse(name, bits)
        loaded = moved["outputs"] if machine.load_outputs else np.zeros_like(moved["outputs"])
        first = resident["outputs"] if machine.load_outputs else loaded
        reads = moved["weights"] + moved["inputs"] + loaded
        filled = resident["weights"] + resident["inputs"] + first
        drained = resident["outputs"]
        compute = self._product_of_counts() * self._columns_passes()
        middle = reads + moved["outputs"] - filled - drained
        ends = _parts(filled, machine.bandwidth) + _parts(drained, machine.bandwidth)
        stalls = np.maximum(0, _parts(middle, machine.bandwidth) - compute) + ends
        cycles = compute + stalls
        order, tile = np.nonzero(cycles == cycles.min())
        traffic = {name: bits[tile] for name, bits in self._traffic().items()}
        traffic |= {"dram_read": reads[order, tile], "dram_write": moved["outputs"][order, tile]}
        traffic |= {
            "weights_write": moved["weights"][order, tile],
            "inputs_write": moved["inputs"][order, tile],
        }
        traffic["outputs_write"] += loaded[order, tile]
        traffic["outputs_read"] += moved["outputs"][order, tile]
        energy = self._energy(compute[tile], traffic)
        best = int(energy.argmin())
        return Simulated(
            int(cycles.min()),
            int(stalls[order[best], tile[best]]),
            float(energy[best]),
            {name: int(bits[best]) for name, bits in traffic.items()},
        )

    def _product_of_counts(self) -> Ints:
        total = np.ones_like(self.images)
        for count in self.counts.values():
            total = total * count
        return total

    def _columns_passes(self) -> Ints:
        """Cycles of one tile."""
        return self.positions * _parts(self.filters, self.machine.columns) * self._passes()

    def _reuse(self, name: str, tile: Ints) -> tuple[Ints, Ints]:
        """Bits of a tensor that move between DRAM and its buffer, and those that stay there.

        Both have a row for each order of the loops.
        """
        moved = np.tile(tile, (len(ORDERS), 1))
        resident, kept = moved.copy(), np.ones(moved.shape, dtype=bool)
        counts = np.stack([self.counts[loop] for loop in LOOPS])
        indexes = np.array([loop in INDEXED[name] for loop in LOOPS])
        for loops in ORDERS.T[::-1]:
            indexed = indexes[loops][:, None]
            moved = np.where(kept & ~indexed, moved, moved * counts[loops])
            kept &= ~indexed | (moved <= self._buffer(name).tile_bits)
            resident = np.where(kept & indexed, moved, resident)
        return moved, resident

    def _traffic(self) -> dict[str, Ints]:
        """Bits between the array and its buffers, for the dataflow that needs the fewest."""
        work, out = self.work, self.machine.output_bits
        a, w = work.input_bits, work.weight_bits
        i, r, q = self.padded_filters, self.padded_products, self.positions
        needs = np.stack(
            [
                r * q * (a + i * (w + out)),
                i * q * (out + r * (a + w)),
                r * i * (w + q * (a + out)),
            ]
        )
        flow = needs.argmin(axis=0)
        area, tiles = work.kernel**2, self._product_of_counts()
        products = area * self.inputs * q
        full = products * self.filters
        sums = np.where(flow == 1, self.filters * q, full) * out
        inputs = np.where(flow == 0, products, full) * a
        weights = np.where(flow == 2, area * self.inputs * self.filters, full) * w
        return {
            "weights_read": weights * tiles,
            "inputs_read": inputs * tiles,
            "outputs_read": sums * tiles,
            "outputs_write": sums * tiles,
        }

    def _energy(self, compute: Ints, traffic: dict[str, Ints]) -> NDArray[np.float64]:
        machine = self.machine
        total = compute * machine.core
        total = total + machine.dram * (traffic["dram_read"] + traffic["dram_write"])
        for name in INDEXED:
            buffer = self._buffer(name)
            total = total + buffer.read * traffic[f"{name}_read"]
            total = total + buffer.write * traffic[f"{name}_write"]
        return np.asarray(total, dtype=np.float64)


def _powers(unit: int, whole: int) -> list[int]:
    """Tile sizes: the unit times powers of two, up to the whole."""
    sizes = []
    while unit < whole:
        sizes.append(unit)
        unit *= 2
    return [*sizes, whole]


def _parts(whole: Ints | int, part: Ints | int) -> Ints:
    """``ceil(whole / part)``."""
    return np.asarray(-(-np.asarray(whole) // part))
