"""k-bit codes in 32-bit words, as in appendix D: no code crosses a word boundary.

Memory accesses stay regular; ``32 mod k`` bits of every word are unused.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sbs.errors import SBSError

WORD = 32


def codes_per_word(bits: int) -> int:
    """How many codes of ``bits`` bits a word holds.

    Raises:
        SBSError: a code does not fit into a word, or has no bits.
    """
    if not 1 <= bits <= WORD:
        raise SBSError(f"codes of {bits} bits cannot be packed into {WORD}-bit words; use 1 to 32")
    return WORD // bits


def wasted_bits(bits: int) -> int:
    """Number of unused bits in a full word."""
    return WORD - codes_per_word(bits) * bits


def pack(codes: Tensor, bits: int) -> Tensor:
    """Pack codes into words, the first code into the lowest bits.

    Args:
        codes: integers in [0, 2^bits), any shape.
        bits: bitwidth k.

    Returns:
        words (⌈n / ⌊32 / k⌋⌉,) as int32; unused bits of the last word are zero.

    Raises:
        SBSError: a code needs more bits.
    """
    count = codes_per_word(bits)
    flat = codes.flatten().to(torch.int64)
    if len(flat) and not 0 <= int(flat.min()) <= int(flat.max()) < 2**bits:
        raise SBSError(f"codes from {int(flat.min())} to {int(flat.max())} do not fit {bits} bits")
    words = -(-len(flat) // count)
    padded = flat.new_zeros(words * count)
    padded[: len(flat)] = flat
    shifted = padded.view(words, count) << _shifts(bits, flat.device)
    # The sum has no carries; words from 2^31 on become negative in int32.
    total = shifted.sum(1)
    return torch.where(total >= 2**31, total - 2**32, total).to(torch.int32)


def unpack(words: Tensor, bits: int, count: int) -> Tensor:
    """First ``count`` codes (count,) of packed words, as int64; inverse of :func:`pack`."""
    unsigned = words.to(torch.int64) & (2**32 - 1)
    codes: Tensor = (unsigned.unsqueeze(1) >> _shifts(bits, words.device)) & (2**bits - 1)
    return codes.flatten()[:count]


def _shifts(bits: int, device: torch.device) -> Tensor:
    return torch.arange(codes_per_word(bits), device=device) * bits
