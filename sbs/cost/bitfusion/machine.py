"""BitFusion accelerators: size of the array, buffers, bandwidth, and energy of an access."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Buffer:
    """An on-chip buffer.

    Attributes:
        size: bytes; half of them hold the tile at work, the other half the next one.
        read: nanojoules to read a bit.
        write: nanojoules to write a bit.
    """

    size: int
    read: float
    write: float

    @property
    def tile_bits(self) -> int:
        """Bits of the largest tile."""
        return self.size * 8 // 2


@dataclass(frozen=True)
class Machine:
    """A BitFusion accelerator, with the choices of its simulator that matter.

    Attributes:
        rows: input channels that the array multiplies at 8 x 8 bits in a cycle.
        columns: filters that it computes in parallel.
        frequency: cycles per second.
        bandwidth: bits from or to DRAM per cycle.
        weights: weight buffer.
        inputs: input buffer.
        outputs: buffer of partial sums.
        core: nanojoules of the array per cycle of work.
        dram: nanojoules per bit from or to DRAM.
        output_bits: bits of a partial sum, on chip and in DRAM.
        load_outputs: whether partial sums are read from DRAM before they are added to; the
            simulator does so even the first time.
    """

    rows: int
    columns: int
    frequency: float
    bandwidth: int
    weights: Buffer
    inputs: Buffer
    outputs: Buffer
    core: float
    dram: float = 0.015
    output_bits: int = 32
    load_outputs: bool = True


EYERISS_SIZE = Machine(
    rows=16,
    columns=32,
    frequency=500e6,
    bandwidth=192,
    weights=Buffer(65536, 2.1365656250000003e-05, 2.8916156249999998e-05),
    inputs=Buffer(32768, 5.9474375e-05, 0.0001137040625),
    outputs=Buffer(16384, 3.31553125e-05, 7.30840625e-05),
    core=0.235104,
)
"""As large as Eyeriss (``bf_e_conf.ini`` of the simulator)."""

STRIPES_SIZE = Machine(
    rows=16,
    columns=32,
    frequency=980e6,
    bandwidth=4096,
    weights=Buffer(131072, 2.32915e-05, 3.941844e-05),
    inputs=Buffer(131072, 0.00019973844, 0.00017383375),
    outputs=Buffer(131072, 0.00012447625, 0.00015785344),
    core=0.235104,
)
"""As large as Stripes (``bf_s_conf.ini``)."""

SMALL = Machine(
    rows=8,
    columns=8,
    frequency=500e6,
    bandwidth=128,
    weights=Buffer(262144, 0.00010717281, 0.00013469094),
    inputs=Buffer(65536, 0.00019973844, 0.00017383375),
    outputs=Buffer(16384, 6.82525e-05, 0.00013354906),
    core=0.029388,
)
"""The simulator's default (``conf.ini``)."""

PAPER_LIKE = replace(EYERISS_SIZE, output_bits=8, load_outputs=False)
"""Like Eyeriss, with outputs of 8 bits that are not read back before they are first written.

The paper does not say how Table 6 was simulated. MobileNetV2 at 8 bits and a batch of 16 takes
24.9 ms and 37.0 mJ there; this machine with depthwise layers as patches gives 23.7 ms and 36.0 mJ,
the machines above 84 ms and 129 mJ, 21 ms and 238 mJ, 240 ms and 156 mJ.
"""
