"""Theorem 1: exactly in rationals, up to rounding error at ties in floats."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sbs.errors import SBSError
from sbs.policy import Bitwidths
from sbs.quantization.bit_sharing import decompose, recompose
from sbs.quantization.uniform import discretize, num_steps
from tests.test_quantizer import exact_round

pytestmark = pytest.mark.device

SEQUENCES = [(2, 4, 8), (3, 6, 12), (1, 2, 4, 8), (2, 6), (2, 4, 8, 16), (5,)]


def exact_discretize(z: Fraction, bits: int) -> Fraction:
    """Eq. 3 in rationals."""
    steps = 2**bits - 1
    return Fraction(exact_round(z * steps), steps)


@pytest.mark.parametrize("bits", [(2, 4, 8), (3, 6)])
def test_theorem_1_at_every_grid_point_and_tie(bits: tuple[int, ...]) -> None:
    steps = 2 ** bits[-1] - 1
    for numerator in range(2 * steps + 1):
        z = Fraction(numerator, 2 * steps)
        total = exact_discretize(z, bits[0])
        for low, high in pairwise(bits):
            total += exact_discretize(z - exact_discretize(z, low), high)
            assert total == exact_discretize(z, high)


@settings(deadline=None)
@given(st.floats(0, 1), st.sampled_from(SEQUENCES))
def test_theorem_1_in_floats_away_from_ties(value: float, bits: tuple[int, ...]) -> None:
    if any(abs(value * num_steps(b) % 1 - 0.5) < 1e-6 for b in bits):
        return
    z = torch.tensor([value], dtype=torch.float64)
    base, offsets = decompose(z, Bitwidths(bits))
    for count, high in enumerate(bits):
        partial = base + sum(offsets[:count], torch.zeros(1))
        torch.testing.assert_close(partial, discretize(z, high), atol=1e-12, rtol=0)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=2))
def test_recompose_is_quantization_at_the_leading_run(gates: list[float]) -> None:
    z = torch.linspace(0.0013, 0.9971, 97, dtype=torch.float64)
    base, offsets = decompose(z, Bitwidths((2, 4, 8)))
    got = recompose(base, offsets, torch.tensor(gates, dtype=torch.float64))
    run = 0 if not gates[0] else 1 if not gates[1] else 2
    torch.testing.assert_close(got, discretize(z, (2, 4, 8)[run]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("bad", [(2, 3), (4, 2), (2, 2), (), (0, 2), (2, 4, 6)])
def test_sequences_that_do_not_nest_are_refused(bad: tuple[int, ...]) -> None:
    with pytest.raises(SBSError, match="bitwidths"):
        Bitwidths(bad)


@pytest.mark.parametrize("good", SEQUENCES)
def test_nesting_sequences_are_accepted(good: tuple[int, ...]) -> None:
    assert Bitwidths(list(good)) == good


def test_bitwidths_are_a_tuple_that_knows_its_ends_and_dumps_as_a_list() -> None:
    adapter = TypeAdapter(Bitwidths)
    bits = adapter.validate_python([2, 4, 8])
    assert isinstance(bits, Bitwidths)
    assert (bits.lowest, bits.highest, bits.index(4)) == (2, 8, 1)
    assert adapter.dump_python(bits, mode="json") == [2, 4, 8]
    assert adapter.validate_json(adapter.dump_json(bits)) == bits
    with pytest.raises(ValidationError, match="do not nest"):
        adapter.validate_python([2, 3])
