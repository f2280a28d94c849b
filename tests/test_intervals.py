"""Intervals with the least squared error of quantization."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from sbs.networks import build_network, get_spec
from sbs.nn.quantizers import get_quantizer
from sbs.policy import FULL_PRECISION, Bitwidths, uniform_policy
from sbs.quantization.uniform import fake_quantize
from sbs.surgery.intervals import fit_intervals, least_squares_interval, sample_inputs
from sbs.surgery.layers import leaf_layers
from sbs.surgery.networks import quantized_layers, quantized_network
from sbs.surgery.search import search_network

IMAGE = (1, 8, 8)


def error(values: Tensor, interval: float, bits: int, signed: bool) -> float:
    v = torch.tensor(interval, dtype=values.dtype)
    return float((fake_quantize(values, v, bits, signed=signed) - values).square().mean())


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_fit_is_as_good_as_that_of_an_optimizer(bits: int, signed: bool) -> None:
    torch.manual_seed(bits)
    values = torch.randn(5000, dtype=torch.float64)
    values = values if signed else values.relu()
    peak = float(values.abs().max())
    fitted = least_squares_interval(values, peak, partial(fake_quantize, bits=bits, signed=signed))
    best = minimize_scalar(
        lambda v: error(values, v, bits, signed), bounds=(0.1, peak), method="bounded"
    )
    assert error(values, fitted, bits, signed) <= 1.03 * best.fun
    assert error(values, fitted, bits, signed) < 0.7 * error(values, 1.0, bits, signed)


def test_values_that_are_all_zero_keep_the_interval_of_the_paper() -> None:
    zeros = torch.zeros(10)
    assert least_squares_interval(zeros, 0.0, lambda x, v: x) == 1.0


def test_samples_are_the_inputs_of_the_layers_and_leave_the_network_alone() -> None:
    model = build_network("resnet20", 10, 1).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.rand(16, *IMAGE)
    samples = sample_inputs(model, images)
    assert list(samples) == list(leaf_layers(model))
    torch.testing.assert_close(samples["conv1"].values, images.flatten())
    assert samples["conv1"].peak == float(images.max())
    assert not model.training
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert all(len(layer._forward_pre_hooks) == 0 for layer in leaf_layers(model).values())


def intervals(layers: dict[str, torch.nn.Module], kind: str) -> list[float]:
    return [float(layer.get_parameter(kind).detach()) for layer in layers.values()]


def test_a_sample_does_not_lie_in_the_padding_alone() -> None:
    """Evenly spaced values of these images are all in their first column, which is zero."""
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))
    images = torch.rand(16, 4, 32, 32)
    images[..., 0] = 0
    assert images.flatten()[::64].abs().max() == 0
    values = sample_inputs(model, images, size=images.numel() // 64)["0"].values
    assert len(values) == pytest.approx(images.numel() / 64, rel=0.02)
    assert float(values.mean()) == pytest.approx(float(images.mean()), rel=0.03)


@pytest.mark.parametrize("quantizer", ["interval", "dorefa_pact"])
def test_a_network_is_fitted_at_the_bits_of_its_policy(quantizer: str) -> None:
    torch.manual_seed(0)
    model, spec = build_network("resnet20", 10, 1), get_spec("resnet20")
    names = list(leaf_layers(model))
    samples = sample_inputs(model, torch.rand(16, *IMAGE))
    policy = uniform_policy("resnet20", names, 4).model_copy(update={"quantizer": quantizer})
    layers = quantized_layers(quantized_network(model, spec, policy))
    fit_intervals(layers, samples)
    inner = list(layers)[1:-1]
    for name in inner:
        layer = layers[name]
        weights = get_quantizer(quantizer)
        learnt = weights.learns_weight_interval
        assert (float(layer.weight_interval.detach()) != 1.0) == learnt
        v = float(layer.activation_interval.detach())
        values = samples[name].values
        assert error(values, v, 4, False) <= error(values, 1.0, 4, False)
    assert float(layers["conv1"].activation_interval.detach()) == 1.0  # reads the 8-bit image


def test_a_search_is_fitted_at_the_bits_of_the_option() -> None:
    def weights_of(bits: int) -> list[float]:
        torch.manual_seed(0)
        model, spec = build_network("resnet20", 10, 1), get_spec("resnet20")
        names = list(leaf_layers(model))
        samples = sample_inputs(model, torch.rand(16, *IMAGE))
        space = search_network(
            model,
            spec,
            uniform_policy("resnet20", names, 8),
            bitwidths=Bitwidths((2, 4, 8)),
            group_size=None,
            metric="rank",
            placement="reader",
        )
        fit_intervals(space.layers, samples, bits)
        return intervals(dict(space.layers), "weight_interval")

    low, high = weights_of(2), weights_of(4)
    assert all(a < b for a, b in zip(low[1:-1], high[1:-1], strict=True))
    assert (low[0], low[-1]) == (high[0], high[-1])  # 8 bits in both


def test_full_precision_has_nothing_to_fit() -> None:
    model, spec = build_network("resnet20", 10, 1), get_spec("resnet20")
    names = list(leaf_layers(model))
    samples = sample_inputs(model, torch.rand(16, *IMAGE))
    policy = uniform_policy("resnet20", names, FULL_PRECISION)
    layers = quantized_layers(quantized_network(model, spec, policy))
    before = intervals(dict(layers), "weight_interval")
    fit_intervals(layers, samples)
    assert intervals(dict(layers), "weight_interval") == before
