"""Packed words: exact inverses, and the waste that appendix D speaks of."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sbs.errors import SBSError
from sbs.quantization.packing import codes_per_word, pack, unpack, wasted_bits


@given(st.integers(1, 32), st.integers(0, 70), st.integers(0, 2**32))
def test_unpack_is_the_inverse_of_pack(bits: int, count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(2**bits, (count,), generator=generator)
    words = pack(codes, bits)
    assert words.dtype == torch.int32
    assert len(words) == -(-count // (32 // bits))
    assert torch.equal(unpack(words, bits, count), codes)


@pytest.mark.parametrize("bits", [1, 2, 3, 8, 31, 32])
def test_largest_codes_survive(bits: int) -> None:
    codes = torch.full((2, 5), 2**bits - 1)
    assert torch.equal(unpack(pack(codes, bits), bits, 10), codes.flatten())


def test_the_first_code_has_the_lowest_bits() -> None:
    assert pack(torch.tensor([1, 2, 3]), 8).tolist() == [0x030201]


def test_ten_codes_of_three_bits_waste_two() -> None:
    """Appendix D's own example."""
    assert (codes_per_word(3), wasted_bits(3)) == (10, 2)
    assert [wasted_bits(bits) for bits in (2, 4, 6, 8, 12)] == [0, 0, 2, 0, 8]


def test_codes_and_bitwidths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SBSError, match="from 0 to 4 do not fit 2 bits"):
        pack(torch.tensor([0, 4]), 2)
    with pytest.raises(SBSError, match="33 bits"):
        codes_per_word(33)
