"""The fused quantizers against their readable specification: values and every gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sbs import gates, kernels, quantizer

SHAPES = [(0, 3), (1,), (5, 4, 3, 2), (2, 3, 8, 8)]


def run(function: Callable[..., Any], x: Tensor, v: float, *args: Any, **kwargs: Any) -> Any:
    """Outputs and gradients of one quantizer, for a fixed random gradient of its output."""
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    interval = torch.tensor(v, dtype=x.dtype, requires_grad=True)
    y = function(leaf, interval, *args, **kwargs)
    out = y[0] if isinstance(y, tuple) else y
    generator = torch.Generator().manual_seed(3)
    grad = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.dtype)
    loss = (out * grad).sum()
    if isinstance(y, tuple):
        loss = loss + (y[1] * torch.arange(1, 1 + len(y[1]))).sum()
    loss.backward()
    return y, leaf.grad, interval.grad


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_fixed_quantizer(shape: tuple[int, ...], signed: bool, bits: int) -> None:
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    want = run(quantizer.quantize, x, 0.9, bits, signed=signed)
    got = run(kernels.quantize, x, 0.9, bits, signed=signed)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(2, 4, 8), (3, 6, 12), (1, 2, 4, 8), (2, 6)]),
    st.sampled_from([shape for shape in SHAPES if 0 not in shape]),
    st.booleans(),
    st.integers(0, 10_000),
)
def test_gated_quantizer(
    bitwidths: tuple[int, ...], shape: tuple[int, ...], signed: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, dtype=torch.float64, generator=generator)
    thresholds = torch.rand(len(bitwidths) - 1, dtype=torch.float64, generator=generator) * 0.12
    results = []
    for function in (gates.gated_quantize, kernels.gated_quantize):
        alpha = thresholds.clone().requires_grad_()
        results.append((*run(function, x, 1.1, alpha, bitwidths, signed=signed), alpha.grad))
    (want_y, *want), (got_y, *got) = results
    for a, b in zip((*got_y, *got), (*want_y, *want), strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-7)


def test_layouts_and_single_precision_agree() -> None:
    x = torch.randn(4, 6, 5, 5)
    want = run(kernels.quantize, x, 1.0, 4, signed=False)
    for other in (x.to(memory_format=torch.channels_last), x.transpose(0, 1).transpose(0, 1)):
        got = run(kernels.quantize, other, 1.0, 4, signed=False)
        torch.testing.assert_close(got, want)


def test_boundaries_count_as_outside() -> None:
    x = torch.tensor([0.0, 1.0, 1e-6, 1.0 - 1e-6])
    for function in (quantizer.quantize, kernels.quantize):
        _, grad_x, _ = run(function, x, 1.0, 2, signed=False)
        assert (grad_x != 0).tolist() == [False, False, True, True]


def test_thresholds_out_of_turn_get_no_gradient() -> None:
    x = torch.randn(20, requires_grad=True)
    alpha = torch.zeros(2)
    y, _, metrics = kernels.gated_quantize(x, torch.tensor(1.0), alpha, (2, 4, 8), signed=False)
    y.sum().backward()
    assert alpha.grad is None
    assert not metrics.requires_grad
