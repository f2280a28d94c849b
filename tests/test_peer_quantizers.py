"""Quantizers of the baselines against values and gradients worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sbs.kernels import fused as kernels
from sbs.quantization.peers import (
    dorefa_weight,
    dq_bits,
    dq_fake_quantize,
    linear_fake_quantize,
    pact_activation,
)
from tests.devices import DEVICE

pytestmark = pytest.mark.device


def test_dorefa_values() -> None:
    w = torch.atanh(torch.tensor([-0.8, -0.3, 0.1, 0.8], dtype=torch.float64))
    # tanh(w) / 1.6 + 1/2 = 0, 0.3125, 0.5625, 1; times 3 rounds to 0, 1, 2, 3.
    want = torch.tensor([-1.0, -1 / 3, 1 / 3, 1.0], dtype=torch.float64)
    torch.testing.assert_close(dorefa_weight(w, 2), want)


def test_dorefa_gradient_is_that_of_tanh_over_its_maximum() -> None:
    w = torch.tensor([0.2, -0.5, 1.0], dtype=torch.float64, requires_grad=True)
    dorefa_weight(w, 4).sum().backward()
    assert w.grad is not None
    want = (1 - torch.tanh(w.detach()) ** 2) / math.tanh(1.0)
    torch.testing.assert_close(w.grad, want)


@given(st.integers(1, 8), st.integers(0, 1000))
def test_dorefa_levels(bits: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(50, dtype=torch.float64, generator=generator, device="cpu").to(DEVICE)
    index = (dorefa_weight(w, bits) + 1) / 2 * (2**bits - 1)
    torch.testing.assert_close(index, index.round())
    assert float(index.min()) >= 0
    assert float(index.max()) <= 2**bits - 1


@pytest.mark.parametrize("pact", [pact_activation, kernels.pact])
def test_pact_values_and_gradients(pact: Callable[..., Tensor]) -> None:
    x = torch.tensor([-1.0, 0.2, 0.55, 1.5, 2.0], dtype=torch.float64, requires_grad=True)
    clip = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    y = pact(x, clip, 2)
    torch.testing.assert_close(y, torch.tensor([0.0, 0.0, 0.5, 1.5, 1.5], dtype=torch.float64))
    (y * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).sum().backward()
    assert clip.grad is not None
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([0, 2, 3, 0, 0])
    assert clip.grad.item() == pytest.approx(4 + 5)


def test_dq_values_and_gradients() -> None:
    # The step 0.3 stands for 2^-2: log2(0.3) = -1.74.
    step = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    largest = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([-1.0, -0.3, 0.1, 0.2, 0.79, 3.0], dtype=torch.float64, requires_grad=True)
    y = dq_fake_quantize(x, step, largest, signed=True)
    want = torch.tensor([-0.75, -0.25, 0.0, 0.25, 0.75, 0.75], dtype=torch.float64)
    torch.testing.assert_close(y, want)
    g = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], dtype=torch.float64)
    (y * g).sum().backward()
    assert x.grad is not None
    assert step.grad is not None
    assert largest.grad is not None
    assert x.grad.tolist() == pytest.approx([0, 2, 3, 4, 5, 0])
    # (Q - x) / d: 0.05, -0.1, 0.05, -0.04, over 0.25.
    assert step.grad.item() == pytest.approx((2 * 0.05 - 3 * 0.1 + 4 * 0.05 - 5 * 0.04) / 0.25)
    assert largest.grad.item() == pytest.approx(-1 + 6)


def test_dq_without_a_sign() -> None:
    step, largest = torch.tensor(0.25), torch.tensor(1.0)
    x = torch.tensor([-2.0, 0.3, 5.0], requires_grad=True)
    y = dq_fake_quantize(x, step, largest, signed=False)
    assert y.tolist() == [0.0, 0.25, 1.0]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 0.0]


@given(st.integers(2, 10), st.integers(-8, 0), st.booleans())
def test_dq_bits_of_full_ranges(bits: int, exponent: int, signed: bool) -> None:
    step = torch.tensor(2.0**exponent, requires_grad=True)
    largest = step.detach() * (2 ** (bits - int(signed)) - 1)
    largest.requires_grad_()
    found = dq_bits(step, largest, signed=signed)
    assert found.item() == bits
    found.backward()  # type: ignore[no-untyped-call]
    # A wider range means more bits, a wider step fewer.
    assert largest.grad is not None
    assert step.grad is not None
    assert largest.grad.item() > 0 > step.grad.item()


def test_linear_values_and_gradients() -> None:
    x = torch.tensor([-2.0, -0.4, 0.1, 0.9, 1.2], dtype=torch.float64, requires_grad=True)
    threshold = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    y = linear_fake_quantize(x, threshold, 3)
    # Steps of 0.9 / 3.
    want = torch.tensor([-0.9, -0.3, 0.0, 0.9, 0.9], dtype=torch.float64)
    torch.testing.assert_close(y, want)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad[[0, 1, 2, 4]].tolist() == [0, 1, 1, 0]
    assert threshold.grad is None
