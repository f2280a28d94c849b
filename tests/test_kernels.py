"""The fast quantizers against their readable specification: values and every gradient."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.utils import counters

from sbs.kernels import build as native
from sbs.kernels import fused as kernels
from sbs.kernels import norm as norm_kernels
from sbs.kernels.compiled import compiled
from sbs.policy import Bitwidths
from sbs.quantization import gates
from sbs.quantization import peers as peer_quantizers
from sbs.quantization import uniform as quantizer
from sbs.runtime.cache import CACHE_VARIABLE
from tests.devices import DEVICE

SHAPES = [(0, 3), (1,), (5, 4, 3, 2), (2, 3, 8, 8), (70, 30, 7, 5)]
BITWIDTHS = [Bitwidths(bits) for bits in ((2, 4, 8), (3, 6, 12), (1, 2, 4, 8), (2, 6))]


@pytest.fixture(autouse=True)
def _kernels_are_there() -> None:
    assert native.available(), "without the kernels these tests would compare nothing"


def randn(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(shape, dtype=torch.float64, generator=generator, device="cpu")
    return drawn.to(DEVICE, dtype)


def uniform(shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, device="cpu").to(DEVICE)


def leaf(x: Tensor) -> Tensor:
    return x.detach().clone(memory_format=torch.preserve_format).requires_grad_()


def fixed(x: Tensor, v: float, bits: int, signed: bool, function: Callable[..., Tensor]) -> Any:
    """Output and gradients of input and interval."""
    x, interval = leaf(x), torch.tensor(v, dtype=x.dtype, requires_grad=True)
    y = function(x, interval, bits, signed=signed)
    (y * randn(y.shape, 3, y.dtype)).sum().backward()
    return y, x.grad, interval.grad


def fast(x: Tensor, interval: Tensor, alpha: Tensor, bitwidths: Any, *, signed: bool) -> Any:
    spec = kernels.QuantizerSpec(alpha, bitwidths, signed, guess=bitwidths[0])
    return kernels.gated_fake_quantize(x, interval, spec)[:3]


def gated(
    x: Tensor, v: float, alpha: Tensor, bits: Any, signed: bool, function: Callable[..., Any]
) -> Any:
    """Outputs and gradients of input, interval and thresholds, through output and gates."""
    x, alpha = leaf(x), leaf(alpha)
    interval = torch.tensor(v, dtype=alpha.dtype, requires_grad=True)
    y, raw, metrics = function(x, interval, alpha, bits, signed=signed)
    weights = torch.arange(1, 1 + len(raw))
    ((y * randn(y.shape, 3, y.dtype)).sum() + (raw * weights).sum()).backward()
    return y, raw, metrics, x.grad, interval.grad, alpha.grad


def assert_all_close(got: Any, want: Any, **tolerances: float) -> None:
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, **tolerances)


@pytest.mark.device
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12])
def test_fixed_quantizer(shape: tuple[int, ...], signed: bool, bits: int) -> None:
    x = randn(shape, 1)
    want = fixed(x, 0.9, bits, signed, quantizer.fake_quantize)
    got = fixed(x, 0.9, bits, signed, kernels.fake_quantize)
    assert_all_close(got, want, atol=1e-9, rtol=1e-9)


@pytest.mark.device
@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(BITWIDTHS),
    st.sampled_from([shape for shape in SHAPES if 0 not in shape]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10_000),
)
def test_gated_quantizer(
    bitwidths: Bitwidths, shape: tuple[int, ...], signed: bool, last: bool, seed: int
) -> None:
    x = randn(shape, seed)
    if last and len(shape) == 4:
        x = x.to(memory_format=torch.channels_last)
    alpha = uniform((len(bitwidths) - 1,), seed).double() * 0.12
    want = gated(x, 1.1, alpha, bitwidths, signed, gates.gated_fake_quantize)
    got = gated(x, 1.1, alpha, bitwidths, signed, fast)
    assert_all_close(got, want, atol=1e-9, rtol=1e-7)


@pytest.mark.device
@pytest.mark.parametrize("signed", [False, True])
def test_ties_fall_as_in_the_reference(signed: bool) -> None:
    # Sixty-fourths of the interval, among them every tie of the 1-bit grid, and its ends.
    x = torch.arange(-80, 81, dtype=torch.float32) / 64
    for bits in (1, 2, 3):
        want = fixed(x, 1.0, bits, signed, quantizer.fake_quantize)
        got = fixed(x, 1.0, bits, signed, kernels.fake_quantize)
        torch.testing.assert_close(got[0], want[0], atol=1e-6, rtol=0)
        assert torch.equal(got[1] == 0, want[1] == 0)


@pytest.mark.device
def test_boundaries_count_as_outside() -> None:
    x = torch.tensor([0.0, 1.0, 1e-6, 1.0 - 1e-6])
    for function in (quantizer.fake_quantize, kernels.fake_quantize):
        _, grad_x, _ = fixed(x, 1.0, 2, False, function)
        assert (grad_x != 0).tolist() == [False, False, True, True]


def dq(
    x: Tensor, step: float, largest: float, signed: bool, function: Callable[..., Tensor]
) -> Any:
    """Output of DQ's quantizer, and gradients of input, step and range."""
    x = leaf(x)
    parameters = [torch.tensor(v, dtype=x.dtype, requires_grad=True) for v in (step, largest)]
    y = function(x, *parameters, signed=signed)
    (y * randn(y.shape, 3, y.dtype)).sum().backward()
    return y, x.grad, *(parameter.grad for parameter in parameters)


@pytest.mark.device
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("step", "largest"), [(0.3, 0.8), (0.125, 1.875), (1.0, 3.0)])
def test_fixed_point(shape: tuple[int, ...], signed: bool, step: float, largest: float) -> None:
    x = randn(shape, 1)
    want = dq(x, step, largest, signed, peer_quantizers.dq_fake_quantize)
    got = dq(x, step, largest, signed, kernels.fixed_point)
    assert_all_close(got, want, atol=1e-9, rtol=1e-9)


@pytest.mark.device
@pytest.mark.parametrize("signed", [False, True])
def test_fixed_point_on_its_ties_and_ends(signed: bool) -> None:
    x = torch.arange(-40, 41, dtype=torch.float32) / 16
    want = dq(x, 0.125, 1.875, signed, peer_quantizers.dq_fake_quantize)
    assert_all_close(dq(x, 0.125, 1.875, signed, kernels.fixed_point), want)


@pytest.mark.device
def test_any_layout_gives_the_same() -> None:
    x = randn((4, 6, 5, 5), 2, torch.float32)
    want = fixed(x, 1.0, 4, False, kernels.fake_quantize)
    permuted = x.permute(1, 0, 3, 2).contiguous().permute(1, 0, 3, 2)
    gaps = torch.zeros(4, 6, 5, 10)[..., ::2].copy_(x)
    for other in (x.to(memory_format=torch.channels_last), permuted, gaps):
        assert_all_close(fixed(other, 1.0, 4, False, kernels.fake_quantize), want)


@pytest.mark.device
@pytest.mark.parametrize("masked", [False, True])
def test_standardized_weights(masked: bool) -> None:
    w = randn((12, 5, 3, 3), 1).to(memory_format=torch.channels_last)
    mask = (uniform((12, 5, 1, 1), 2) < 0.6).to(w.dtype)
    results = []
    for function in (kernels.standardize, quantizer.standardize):
        x = leaf(w)
        y = function(x, mask if masked else None)
        (y * randn(w.shape, 3)).sum().backward()
        results.append((y, x.grad))
    assert_all_close(*results, atol=1e-12, rtol=1e-12)


@pytest.mark.device
@pytest.mark.parametrize("value", [0.8, -0.8, 1e-4, -1e-4, 0.0])
def test_interval_of_any_sign(value: float) -> None:
    x, results = randn((50,), 1), []
    for fused in (True, False):
        parameter = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        interval = parameter if fused else quantizer.effective_interval(parameter)
        function = kernels.fake_quantize if fused else quantizer.fake_quantize
        y = function(x, interval, 4, signed=True)
        (y * randn((50,), 3)).sum().backward()
        results.append((y, parameter.grad))
    assert_all_close(*results, atol=1e-12, rtol=1e-9)


@pytest.mark.device
def test_bfloat16_computes_in_single_precision() -> None:
    x = randn((64, 16, 9, 9), 4, torch.bfloat16)
    interval = torch.tensor(0.9)
    got = kernels.fake_quantize(x, interval, 4, signed=False)
    want = quantizer.fake_quantize(x.float(), interval, 4, signed=False).to(torch.bfloat16)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, want)


@pytest.mark.device
def test_value_that_is_not_a_number_stays_one() -> None:
    x = torch.full((40,), float("nan"))
    for dtype in (torch.float32, torch.bfloat16):
        y = kernels.fake_quantize(x.to(dtype), torch.tensor(1.0), 4, signed=False)
        assert bool(y.isnan().all())


@pytest.mark.device
def test_thresholds_out_of_turn_get_no_gradient() -> None:
    x = torch.randn(20, requires_grad=True)
    alpha = torch.zeros(2)
    result = kernels.gated_fake_quantize(
        x, torch.tensor(1.0), kernels.QuantizerSpec(alpha, BITWIDTHS[0], False, 8)
    )
    result.values.sum().backward()
    assert alpha.grad is None
    assert not result.metrics.requires_grad


@pytest.mark.parametrize("guess", [2, 4, 8])
def test_guess_changes_nothing(guess: int) -> None:
    x, alpha = randn((9, 16, 8, 8), 5, torch.float32), torch.tensor([0.01, 0.5])
    for signed in (False, True):
        spec = kernels.QuantizerSpec(alpha, BITWIDTHS[0], signed, guess)
        result = kernels.gated_fake_quantize(x, torch.tensor(1.0), spec)
        assert result.bits == 4
        assert torch.equal(
            result.values, kernels.fake_quantize(x, torch.tensor(1.0), 4, signed=signed)
        )


def test_sums_do_not_depend_on_the_number_of_threads() -> None:
    x, alpha = randn((32, 16, 16, 16), 6, torch.float32), torch.tensor([0.01, 0.001])
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(gated(x, 1.0, alpha, BITWIDTHS[0], False, fast))
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


# Where there is no compiler.


@pytest.fixture
def _no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    native._built.cache_clear()
    yield
    native._built.cache_clear()


@pytest.mark.usefixtures("_no_compiler")
def test_without_a_compiler_the_reference_stands_in_with_one_warning() -> None:
    x = randn((6, 4, 3, 3), 1, torch.float32).to(memory_format=torch.channels_last)
    with pytest.warns(UserWarning, match="fast kernels could not be built"):
        got = kernels.fake_quantize(x, torch.tensor(1.0), 4, signed=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not norm_kernels.joins_norm(x)
    assert torch.equal(got, quantizer.fake_quantize(x, torch.tensor(1.0), 4, signed=False))
    spec = kernels.QuantizerSpec(torch.zeros(2), BITWIDTHS[0], False, 8)
    both = [kernels.gated_fake_quantize(x, torch.tensor(v), spec).values for v in (0.7, -0.7)]
    assert torch.equal(*both)


@pytest.mark.usefixtures("_no_compiler")
def test_ninja_is_found_in_an_environment_that_is_not_activated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.warns(UserWarning, match="no-such-compiler"):  # which is looked for after ninja
        assert not native.available()
    assert os.environ["PATH"] == str(tmp_path)


def test_compiled_reference_is_what_gpus_run() -> None:
    function = compiled(gates.gated_fake_quantize, (("bitwidths", BITWIDTHS[0]), ("signed", False)))
    alpha = torch.tensor([0.02, 0.5])
    x = randn((8, 4, 5, 5), 1, torch.float32)

    def call(x: Tensor, v: Tensor, alpha: Tensor, _: Any, *, signed: bool) -> Any:
        assert not signed
        return function(x, v, alpha)

    want = gated(x, 1.0, alpha, BITWIDTHS[0], False, gates.gated_fake_quantize)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        got = gated(x, 1.0, alpha, BITWIDTHS[0], False, call)
    assert_all_close(got, want, atol=1e-5, rtol=1e-5)


def test_no_quantizer_uses_up_the_compilations_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a limit for one piece of code PyTorch runs it slowly, and says so in a log only."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    counters.clear()
    one, alpha = torch.tensor(1.0), torch.zeros(1)
    for signed in (False, True):
        options = (("signed", signed),)
        fixed = compiled(quantizer.fake_quantize, (("bits", 5), *options))
        gated = compiled(gates.gated_fake_quantize, (("bitwidths", Bitwidths((3, 6))), *options))
        point = compiled(peer_quantizers.dq_fake_quantize, options)
        for shape in SHAPES[2:]:
            for x in (randn(shape, 1, torch.float32), randn(shape, 1).view(shape[0], -1).float()):
                fixed(x, one)
                gated(x, one, alpha)
                point(x, one, one)
    assert counters["frames"]["ok"] >= 12
    assert not counters["unimplemented"]
