"""Eqs. 10-12 and the normalisation of section 3.2.3."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sbs.nn.filter_gate import FilterGate, Metric
from sbs.policy import Bitwidths
from sbs.quantization.gates import (
    RANKS,
    binary_gate,
    expected_bits,
    gated_fake_quantize,
    group_metrics,
    nested_gates,
    quantization_metrics,
    ranks,
)
from sbs.quantization.uniform import fake_quantize

pytestmark = pytest.mark.device


def test_gate_is_one_at_and_above_its_threshold() -> None:
    gate = binary_gate(torch.tensor([0.1, 0.2, 0.3]), torch.tensor(0.2))
    assert gate.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(("metric", "threshold"), [(0.0, 0.0), (0.3, 0.1), (0.1, 0.7)])
def test_gate_gradient_is_equation_12(metric: float, threshold: float) -> None:
    alpha = torch.tensor(threshold, dtype=torch.float64, requires_grad=True)
    a = torch.tensor(metric, dtype=torch.float64, requires_grad=True)
    binary_gate(a, alpha).backward()
    s = 1 / (1 + math.exp(-(metric - threshold)))
    assert alpha.grad is not None
    assert alpha.grad.item() == pytest.approx(-s * (1 - s))
    assert a.grad is None


def test_closed_gate_closes_those_above_it() -> None:
    assert nested_gates(torch.tensor([1.0, 0.0, 1.0])).tolist() == [1.0, 0.0, 0.0]
    assert expected_bits(torch.tensor([0.0, 1.0]), Bitwidths((2, 4, 8))).item() == 2
    assert expected_bits(torch.tensor([1.0, 0.0]), Bitwidths((3, 6, 12))).item() == 6


def test_expected_bits_has_the_gradient_of_equation_14() -> None:
    gates = torch.tensor([1.0, 0.0], requires_grad=True)
    expected_bits(gates, Bitwidths((2, 4, 8))).backward()
    assert gates.grad is not None
    assert gates.grad.tolist() == [2.0 + 0.0, 4.0]


def test_metrics_are_means_and_have_the_bounds_of_the_step() -> None:
    z = torch.rand(10_000, dtype=torch.float64)
    metrics = quantization_metrics(z, Bitwidths((2, 4, 8)))
    assert metrics[0].item() == pytest.approx((z - (z * 3).round() / 3).abs().mean().item())
    assert 0 < metrics[1] < 1 / 30 < metrics[0] < 1 / 6


@pytest.mark.parametrize("signed", [False, True])
def test_gated_value_is_plain_quantization_at_the_selected_bitwidth(signed: bool) -> None:
    x = torch.randn(500, dtype=torch.float64)
    v = torch.tensor(1.3, dtype=torch.float64)
    for thresholds, bits in (([0.0, 0.0], 8), ([0.0, 9.0], 4), ([9.0, 0.0], 2)):
        alpha = torch.tensor(thresholds, dtype=torch.float64)
        y, _, _ = gated_fake_quantize(x, v, alpha, Bitwidths((2, 4, 8)), signed=signed)
        torch.testing.assert_close(y, fake_quantize(x, v, bits, signed=signed), atol=1e-12, rtol=0)


def test_group_metric_is_the_mean_absolute_weight_of_the_group() -> None:
    w = torch.randn(10, 3, 3, 3)
    metrics = group_metrics(w, 4, standardized=False)
    assert len(metrics) == 3
    assert metrics[1].item() == pytest.approx(w[4:8].abs().mean().item(), rel=1e-6)
    assert metrics[2].item() == pytest.approx(w[8:].abs().mean().item(), rel=1e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40, unique=True))
def test_a_threshold_on_ranks_is_the_share_of_closed_groups(metrics: list[float]) -> None:
    values = torch.tensor(metrics, dtype=torch.float64)
    found, groups = ranks(values), len(metrics)
    assert found.argsort().tolist() == values.argsort().tolist()
    for closed in range(groups + 1):
        assert int((found < RANKS * closed / groups).sum()) == closed


@pytest.mark.parametrize("metric", ["rank", "standardized", "raw"])
def test_a_layer_never_loses_its_last_group(metric: Metric) -> None:
    gate = FilterGate(12, 4, metric=metric, placement="norm")
    gate.threshold.data.fill_(100.0)
    w = torch.randn(12, 3, 3, 3)
    w[4:8] *= 3
    gate.update(w)
    assert gate.mask.view(3, 4).tolist() == [[0.0] * 4, [1.0] * 4, [0.0] * 4]
    gate.per_filter.sum().backward()
    assert gate.threshold.grad is not None
