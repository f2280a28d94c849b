"""Initial intervals: v_w and v_x with the least squared error of quantization.

The paper starts all intervals at 1. A few epochs of training cannot move them far, so a short
schedule then measures where they started. With fitted intervals it measures the bitwidths.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import gcd

import torch
from torch import Tensor, nn

from sbs.nn.layers import LayerOptions, QuantLayer
from sbs.nn.multipath import MultiPathConv2d
from sbs.policy import FULL_PRECISION
from sbs.surgery.layers import leaf_layers

SAMPLE = 8192
"""Values per tensor that a fit uses, evenly spaced."""

SEEN = 0.1
"""A sample has a value of this share of the largest one. Else its spacing is one that visits all
places of an image: it can have met one column alone, such as that of the padding."""

CANDIDATES = 64
SMALLEST = 1 / 32
"""Candidates for an interval: geometric from this share of the largest magnitude up to it."""


@dataclass(frozen=True)
class InputSample:
    """Some values of a tensor, and the largest magnitude of all."""

    values: Tensor
    peak: float


def sample_inputs(model: nn.Module, images: Tensor, size: int = SAMPLE) -> dict[str, InputSample]:
    """Like :func:`sample_inputs_of`, of a network whose only input is a batch of images.

    Args:
        model: the plain network; not changed.
        images: a batch (N, C, H, W).
        size: values per layer.
    """
    return sample_inputs_of(model, lambda twin: twin(images), size)


@torch.no_grad()
def sample_inputs_of(
    model: nn.Module, run: Callable[[nn.Module], object], size: int = SAMPLE
) -> dict[str, InputSample]:
    """Run a plain network on one batch; return a sample of each layer's input, by layer name.

    Batch norms use the statistics of the batch: after a search, the running ones belong to
    standardised weights.

    Args:
        model: the plain network; not changed.
        run: runs a copy of it on the batch.
        size: values per layer.
    """
    twin = copy.deepcopy(model).train()
    samples: dict[str, InputSample] = {}

    def note(name: str, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        samples[name] = _sampled(args[0], size)

    for name, layer in leaf_layers(twin).items():
        layer.register_forward_pre_hook(partial(note, name))
    run(twin)
    return samples


@torch.no_grad()
def sample_rectified(model: nn.Module, images: Tensor) -> dict[str, InputSample]:
    """Like :func:`sample_inputs`: a sample of the output of each ReLU, by its name."""
    twin = copy.deepcopy(model).train()
    samples: dict[str, InputSample] = {}

    def note(name: str, module: nn.Module, args: object, output: Tensor) -> None:
        samples[name] = _sampled(output, SAMPLE)

    for name, module in twin.named_modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(partial(note, name))
    twin(images)
    return samples


def _sampled(tensor: Tensor, size: int) -> InputSample:
    values = tensor.detach().flatten()
    peak, step = float(values.abs().max()), max(1, len(values) // size)
    if values[::step].abs().max() < SEEN * peak:
        step = next(less for less in range(step, 0, -1) if gcd(less, len(values)) == 1)
    return InputSample(values[::step].clone(), peak)


@torch.no_grad()
def fit_intervals(
    layers: Mapping[str, QuantLayer],
    inputs: Mapping[str, InputSample],
    searched_bits: int | None = None,
) -> None:
    """Set the intervals of quantized layers to those of least squared error.

    Args:
        layers: layers by name.
        inputs: their inputs in the plain network.
        searched_bits: bitwidth to fit at where gates choose it. A tensor without gates is fitted
            at its own bitwidth.
    """
    for name, layer in layers.items():
        options = layer.options
        if layer.weight_gate is not None and searched_bits is not None:
            options = replace(options, weight_bits=searched_bits, activation_bits=searched_bits)
        if options.weight_bits < FULL_PRECISION:
            _fit_weights(layer.weight_interval, layer.normalized_weight(), options)
        if options.activation_bits < FULL_PRECISION and options.quantize_input:
            _fit_input(layer.activation_interval, inputs[name], options)


@torch.no_grad()
def fit_paths(layers: Mapping[str, MultiPathConv2d], inputs: Mapping[str, InputSample]) -> None:
    """Like :func:`fit_intervals`, for every path of multi-path layers at its own bitwidth."""
    for name, layer in layers.items():
        for path in layer.each_path():
            options = replace(path.options, weight_bits=path.bits, activation_bits=path.bits)
            _fit_weights(path.weight_interval, path.normalized_weight(), options)
            _fit_input(path.activation_interval, inputs[name], options)


def _fit_weights(interval: Tensor, weight: Tensor, options: LayerOptions) -> None:
    quantizer = options.quantizer
    if quantizer.learns_weight_interval:
        sample = weight.detach().flatten()[:: max(1, weight.numel() // SAMPLE)]
        quantize = partial(quantizer.fake_quantize_weight, bits=options.weight_bits)
        interval.fill_(least_squares_interval(sample, float(weight.abs().max()), quantize))


def _fit_input(interval: Tensor, sample: InputSample, options: LayerOptions) -> None:
    bits, signed = options.activation_bits, options.signed_input
    quantize = partial(options.quantizer.fake_quantize_input, bits=bits, signed=signed)
    interval.fill_(least_squares_interval(sample.values, sample.peak, quantize))


def least_squares_interval(
    values: Tensor, peak: float, quantize: Callable[[Tensor, Tensor], Tensor]
) -> float:
    """The interval with the smallest mean squared error of quantization.

    Args:
        values: a sample, any shape.
        peak: largest magnitude of all values.
        quantize: (values, interval) -> quantized values.

    Returns:
        One of :data:`CANDIDATES` values; 1 if all values are zero.
    """
    if peak == 0:
        return 1.0
    exponents = torch.linspace(0, 1, CANDIDATES, dtype=torch.float64)
    candidates = (peak * SMALLEST ** (1 - exponents)).to(values)
    errors = [(quantize(values, v) - values).square().mean() for v in candidates]
    return float(candidates[int(torch.stack(errors).argmin())])
