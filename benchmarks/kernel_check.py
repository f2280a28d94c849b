"""The kernels of a device against the reference functions there: values and gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sbs.kernels import fused as kernels
from sbs.policy import Bitwidths
from sbs.quantization import gates, peers, uniform

SHAPE = (64, 16, 8, 8)
CANDIDATES = Bitwidths((2, 4, 8))
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
CLOSE = {"fp32": 1e-4, "bf16": 1e-2}
"""Values differ by at most this, relative to their largest."""

STRAYS = 1e-3
"""Share of the values that may differ by more: near a tie rounding error decides the level."""

INTERVAL = 1.1

Outputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Case:
    """A kernel, its reference, and the parameters of both.

    Attributes:
        name: for the record.
        kernel: of values and parameters: the quantized values, then what else has a gradient.
        reference: likewise.
        parameters: each a number or a list.
    """

    name: str
    kernel: Callable[..., Outputs]
    reference: Callable[..., Outputs]
    parameters: tuple[float | list[float], ...]


def cases() -> Iterator[Case]:
    """Every kernel that a network can call."""
    for signed in (False, True):
        sign = "signed" if signed else "unsigned"
        for bits in CANDIDATES:
            options = {"bits": bits, "signed": signed}
            pair = _alone(kernels.fake_quantize, options), _alone(uniform.fake_quantize, options)
            yield Case(f"{bits} bits, {sign}", *pair, (INTERVAL,))
        pair = partial(_gated, signed=signed), partial(_gated_reference, signed=signed)
        yield Case(f"gates, {sign}", *pair, (INTERVAL, [0.02, 0.05]))
        options = {"signed": signed}
        pair = _alone(kernels.fixed_point, options), _alone(peers.dq_fake_quantize, options)
        yield Case(f"fixed point, {sign}", *pair, (0.125, 1.875))
    pair = _alone(kernels.pact, {"bits": 4}), _alone(peers.pact_activation, {"bits": 4})
    yield Case("PACT", *pair, (INTERVAL,))
    options = {"mask": None}
    pair = _alone(kernels.standardize, options), _alone(uniform.standardize, options)
    yield Case("standardization", *pair, ())


def compare(case: Case, precision: str, device: torch.device) -> dict[str, Any]:
    """How far a kernel is from its reference, which computes in double precision.

    Returns:
        the outcome, and for the output and each gradient the share of values that differ.
    """
    x = _values().to(device, DTYPES[precision], memory_format=torch.channels_last)
    with warnings.catch_warnings():
        # What is compared then would be slower code that stands in.
        warnings.filterwarnings("error", message="torch.compile")
        got = _results(case.kernel, x, case.parameters, torch.float32)
    want = _results(case.reference, x.double(), case.parameters, torch.float64)
    names = ["output", "gradient of the input"]
    names += [f"gradient of parameter {number}" for number in range(len(case.parameters))]
    off = {
        name: _share_off(a, b, CLOSE[precision])
        for name, a, b in zip(names, got, want, strict=True)
    }
    row = {"case": case.name, "precision": precision, "share_off": off}
    failed = [f"{name}: {share:.2%} differ" for name, share in off.items() if share > STRAYS]
    return row | {"outcome": "failed" if failed else "passed", "message": "; ".join(failed)}


def _values() -> Tensor:
    """Values inside and outside the interval, none near a tie of the candidates' grids."""
    generator = torch.Generator().manual_seed(1)
    steps = uniform.num_steps(CANDIDATES.highest)
    # Of [-v, v], which has every tie of [0, v] too, half a step apart.
    level = (torch.randn(SHAPE, generator=generator) * steps).round()
    offset = 0.2 + 0.1 * torch.rand(SHAPE, generator=generator)
    return INTERVAL * (level + offset) / steps


def _results(
    function: Callable[..., Outputs],
    x: Tensor,
    parameters: tuple[float | list[float], ...],
    dtype: torch.dtype,
) -> list[Tensor]:
    """Output and gradients of a weighted sum of it, in double precision."""
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    leaves = [
        torch.tensor(value, dtype=dtype, device=x.device, requires_grad=True)
        for value in parameters
    ]
    y, *others = function(leaf, *leaves)
    weights = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2)).bfloat16()
    total = (y * weights.to(x.device, y.dtype)).sum(dtype=dtype)
    for other in others:
        total = total + other.sum()
    total.backward()  # type: ignore[no-untyped-call]
    found = [y.detach(), *(one.grad for one in (leaf, *leaves))]
    return [one.double() for one in found if one is not None]


def _share_off(got: Tensor, want: Tensor, close: float) -> float:
    """Share of values that differ by more than ``close`` of the largest; 1 if not finite."""
    if not bool(got.isfinite().all()):
        return 1.0
    return float(((got - want).abs() > close * want.abs().max()).double().mean())


def _alone(function: Callable[..., Tensor], options: dict[str, Any]) -> Callable[..., Outputs]:
    def call(x: Tensor, *parameters: Tensor) -> Outputs:
        return (function(x, *parameters, **options),)

    return call


def _gated(x: Tensor, interval: Tensor, thresholds: Tensor, *, signed: bool) -> Outputs:
    spec = kernels.QuantizerSpec(thresholds, CANDIDATES, signed, CANDIDATES.highest)
    result = kernels.gated_fake_quantize(x, interval, spec)
    return result.values, result.gates


def _gated_reference(x: Tensor, interval: Tensor, thresholds: Tensor, *, signed: bool) -> Outputs:
    return gates.gated_fake_quantize(x, interval, thresholds, CANDIDATES, signed=signed)[:2]
