"""Batch norm, residual, ReLU and quantizer as one, against the same one after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sbs.kernels import build as native
from sbs.kernels import fused as kernels
from sbs.kernels import norm as norm_kernels
from sbs.policy import Bitwidths
from sbs.quantization import gates
from sbs.quantization import uniform as quantizer
from tests.test_kernels import assert_all_close, leaf, randn


@pytest.fixture(autouse=True)
def _kernels_are_there() -> None:
    assert native.available(), "without the kernels these tests would compare nothing"


def reference(
    x: Tensor, interval: Tensor, alpha: Tensor, bits: Bitwidths, *, signed: bool
) -> kernels.Quantized:
    if len(bits) == 1:
        y = quantizer.fake_quantize(x, interval, bits[0], signed=signed)
        return kernels.Quantized(y, alpha, alpha.detach(), bits[0])
    return kernels.Quantized(
        *gates.gated_fake_quantize(x, interval, alpha, bits, signed=signed), bits=None
    )


def joined(
    fused: bool, raw: Tensor, residual: Tensor | None, *, bits: Any, relu: bool, keep: bool
) -> list[Tensor]:
    """Outputs, running statistics and all gradients."""
    channels, wide = raw.shape[1], torch.promote_types(raw.dtype, torch.float32)
    leaves = [leaf(raw)] + [leaf(randn((channels,), seed, wide) + 1) for seed in (7, 8)]
    added = None if residual is None else leaf(residual)
    interval = torch.tensor(1.2, dtype=wide, requires_grad=True)
    alpha = torch.full((len(bits) - 1,), 0.02, dtype=wide, requires_grad=True)
    running = [torch.zeros(channels, dtype=wide), torch.ones(channels, dtype=wide)]
    norm = norm_kernels.Norm(leaves[1], leaves[2], running[0], running[1], True, 0.1, 1e-5)
    # Signed, values after a ReLU would sit on the tie at zero, where rounding error decides.
    spec = kernels.QuantizerSpec(alpha, bits, not relu, guess=bits[-1])
    if fused:
        result, kept = norm_kernels.norm_quantize(
            leaves[0], norm, added, interval, spec, relu=relu, keep=keep
        )
    else:
        kept = norm_kernels.norm_reference(leaves[0], norm, added, relu=relu)
        result = reference(kept, interval, alpha, bits, signed=not relu)
    loss = (result.values * randn(raw.shape, 10, raw.dtype)).sum() + result.gates.sum()
    if keep:
        assert kept is not None
        loss = loss + (kept * randn(raw.shape, 11, raw.dtype)).sum()
    loss.backward()
    inputs = [*leaves, interval] + ([alpha] if len(bits) > 1 else [])
    inputs += [] if added is None else [added]
    kept_values = [kept] if keep and kept is not None else []
    outputs = [result.values, *kept_values, result.metrics, *running]
    return outputs + [tensor.grad for tensor in inputs if tensor.grad is not None]


@pytest.mark.parametrize("shape", [(3, 12, 5, 7), (8, 16, 4, 4), (2, 1, 9, 3), (40, 30, 8, 8)])
@pytest.mark.parametrize("bits", [Bitwidths(b) for b in ((4,), (2, 4, 8), (3, 6, 12), (2, 4))])
@pytest.mark.parametrize(("with_residual", "keep"), [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize("relu", [True, False])
def test_norm_and_quantizer_as_one(
    shape: tuple[int, ...], bits: Bitwidths, with_residual: bool, keep: bool, relu: bool
) -> None:
    raw = (3 * randn(shape, 1) + 5).to(memory_format=torch.channels_last)
    residual = randn(shape, 2).to(memory_format=torch.channels_last) if with_residual else None
    got = joined(True, raw, residual, bits=bits, relu=relu, keep=keep)
    want = joined(False, raw, residual, bits=bits, relu=relu, keep=keep)
    assert_all_close(got, want, atol=1e-8, rtol=1e-6)


def test_norm_and_quantizer_in_single_precision() -> None:
    shape = (64, 16, 16, 16)
    raw = (randn(shape, 1, torch.float32) + 30).to(memory_format=torch.channels_last)
    got = joined(True, raw, None, bits=Bitwidths([4]), relu=True, keep=True)
    want = joined(True, raw.double(), None, bits=Bitwidths([4]), relu=True, keep=True)
    steps = (got[0].double() - want[0]).abs() / (1.2 / 15)
    assert float((steps > 0.5).double().mean()) < 1e-4, "only near ties may a level change"
    assert_all_close(got[1:4], [t.float() for t in want[1:4]], atol=1e-4, rtol=1e-4)


def test_running_statistics_serve_evaluation() -> None:
    raw = randn((4, 8, 6, 6), 1, torch.float32).to(memory_format=torch.channels_last)
    mean, var = torch.full((8,), 0.3), torch.full((8,), 2.0)
    norm = norm_kernels.Norm(torch.ones(8), torch.zeros(8), mean, var, False, 0.1, 1e-5)
    spec = kernels.fixed(raw, 8, signed=False)
    result, _ = norm_kernels.norm_quantize(
        raw, norm, None, torch.tensor(1.0), spec, relu=True, keep=False
    )
    x = F.batch_norm(raw, mean, var, norm.weight, norm.bias, False).relu()
    want = quantizer.fake_quantize(x, torch.tensor(1.0), 8, signed=False)
    torch.testing.assert_close(result.values, want, atol=1 / 255 + 1e-6, rtol=0)
    assert (mean == 0.3).all()
