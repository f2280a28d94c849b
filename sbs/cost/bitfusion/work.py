"""A layer as the BitFusion simulator sees it, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

from sbs.errors import SBSError

HIGHEST_BITS = 8
"""Most bits of an operand."""


@dataclass(frozen=True)
class Work:
    """A convolution, or a linear layer with all sizes 1, on a batch.

    Attributes:
        kernel: height and width of the kernel.
        stride: stride.
        size: height and width of the output.
        inputs: input channels.
        filters: output channels.
        input_bits: bits of an input.
        weight_bits: bits of a weight.
        batch: images.
        patches: whether the patches of the input are laid out in memory, so that kernel and
            channels fill the rows of the array together.
        first: whether the layer reads the image; its filters are then tiled from one on.
    """

    kernel: int
    stride: int
    size: int
    inputs: int
    filters: int
    input_bits: int
    weight_bits: int
    batch: int = 16
    patches: bool = False
    first: bool = False


@dataclass(frozen=True)
class Simulated:
    """Cost of a layer, for the whole batch.

    Attributes:
        cycles: cycles, with those of waiting.
        stalls: cycles of waiting for DRAM.
        energy: nanojoules.
        traffic: bits read from and written to each memory: ``dram``, ``weights``, ``inputs`` and
            ``outputs`` (the buffers), each with ``_read`` and ``_write``.
    """

    cycles: int
    stalls: int
    energy: float
    traffic: dict[str, int]


def speedup(input_bits: int, weight_bits: int) -> int:
    """Products in the time of one of 8 x 8 bits; a bitwidth counts as the next power of two.

    Raises:
        SBSError: more than 8 bits.
    """
    if max(input_bits, weight_bits) > HIGHEST_BITS:
        raise SBSError(
            f"BitFusion multiplies at most {HIGHEST_BITS} bits, got {input_bits} x {weight_bits}; "
            "take another cost, or lower bitwidths"
        )
    return (HIGHEST_BITS // max(input_bits, 2)) * (HIGHEST_BITS // max(weight_bits, 2))
