"""Eqs. 1-4: values, gradients, and the traps of rounding."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sbs.quantization.rounding import round_half_down, round_straight_through
from sbs.quantization.uniform import discretize, fake_quantize, num_steps, standardize

pytestmark = pytest.mark.device

BITS = st.integers(1, 8)
VALUES = st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=20)


def exact_round(x: Fraction) -> int:
    """⌈x - 1/2⌉ in rationals."""
    return math.ceil(x - Fraction(1, 2))


def exact_quantize(x: float, interval: float, bits: int, signed: bool) -> float:
    """Eqs. 1-4 in rationals."""
    value, v, steps = Fraction(x), Fraction(interval), 2**bits - 1
    low = -1 if signed else 0
    z = (min(max(value / v, Fraction(low)), Fraction(1)) - low) / (1 - low)
    level = Fraction(exact_round(z * steps), steps)
    return float(v * (level * (1 - low) + low))


def test_round_sends_ties_down() -> None:
    ties = torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.5])
    assert round_half_down(ties).tolist() == [-2.0, -1.0, 0.0, 1.0, 2.0]


@given(st.floats(-100, 100), st.integers(-50, 50))
def test_round_commutes_with_integer_shifts(x: float, shift: int) -> None:
    exact = Fraction(x)
    assert exact_round(exact + shift) == exact_round(exact) + shift


def test_round_gradient_is_identity() -> None:
    x = torch.tensor([0.2, 0.5, 0.9], requires_grad=True)
    (round_straight_through(x) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 2.0, 3.0]


@settings(deadline=None)
@given(VALUES, BITS, st.floats(0.25, 4, width=32), st.booleans())
def test_quantize_equals_rational_arithmetic(
    values: list[float], bits: int, interval: float, signed: bool
) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    v = torch.tensor(interval, dtype=torch.float64)
    got = fake_quantize(x, v, bits, signed=signed)
    step = interval * (2 if signed else 1) / num_steps(bits)
    for value, result in zip(values, got.tolist(), strict=True):
        exact = exact_quantize(value, interval, bits, signed)
        # A value within rounding error of a tie may land one step away.
        low = -interval if signed else 0.0
        position = (min(max(value, low), interval) - low) / step
        near_tie = abs(position % 1 - 0.5) < 1e-9
        assert result == pytest.approx(exact, abs=1e-12) or (
            near_tie and abs(result - exact) <= step * (1 + 1e-9)
        )


@settings(deadline=None)
@given(VALUES, BITS, st.booleans())
def test_quantized_values_lie_on_the_grid(values: list[float], bits: int, signed: bool) -> None:
    v = torch.tensor(1.25, dtype=torch.float64)
    y = fake_quantize(torch.tensor(values, dtype=torch.float64), v, bits, signed=signed)
    position = ((y / v + 1) / 2 if signed else y / v) * num_steps(bits)
    torch.testing.assert_close(position, position.round(), atol=1e-9, rtol=0)


def test_quantize_gradients_by_hand() -> None:
    x = torch.tensor([-0.5, 0.3, 0.9, 2.0], dtype=torch.float64, requires_grad=True)
    v = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
    fake_quantize(x, v, 2, signed=False).sum().backward()
    assert x.grad is not None
    assert v.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 0.0]
    # Below: 0. Inside: D(z) - z, z = 0.25 -> 1/3 and 0.75 -> 2/3. Above: 1.
    assert v.grad.item() == pytest.approx((1 / 3 - 0.25) + (2 / 3 - 0.75) + 1)


def test_signed_interval_gradient_outside_is_the_sign_of_the_clip() -> None:
    x = torch.tensor([-3.0, 3.0, 3.0], dtype=torch.float64)
    v = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    fake_quantize(x, v, 4, signed=True).sum().backward()
    assert v.grad is not None
    assert v.grad.item() == pytest.approx(1.0)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_zero_weight_is_a_tie_and_goes_down(bits: int) -> None:
    y = fake_quantize(torch.zeros(1), torch.tensor(1.0), bits, signed=True)
    assert y.item() == pytest.approx(-1 / num_steps(bits))


def test_discretize_handles_empty_tensors() -> None:
    assert discretize(torch.zeros(0, 3), 4).shape == (0, 3)


def test_standardize_has_zero_mean_unit_variance_and_detached_statistics() -> None:
    w = torch.randn(8, 3, 3, 3, requires_grad=True)
    y = standardize(w)
    assert y.mean().item() == pytest.approx(0, abs=1e-6)
    assert y.std().item() == pytest.approx(1, abs=1e-5)
    y.sum().backward()
    assert w.grad is not None
    torch.testing.assert_close(w.grad, torch.full_like(w, 1 / w.std().item()))


def test_masked_statistics_equal_those_of_the_remaining_weights() -> None:
    w = torch.randn(8, 4, 3, 3)
    mask = torch.ones(8, 1, 1, 1)
    mask[[1, 5]] = 0
    kept = [0, 2, 3, 4, 6, 7]
    torch.testing.assert_close(standardize(w, mask)[kept], standardize(w[kept]))
