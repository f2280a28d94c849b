"""Quantizers of the baselines against values and gradients worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sbs import kernels
from sbs.peer_quantizers import dorefa_weight, pact_activation


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
    w = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
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
