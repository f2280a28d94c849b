"""Results of a trained DQ network (Uhlich et al. 2020): sizes, and bitwidths of every layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.utils.hooks import RemovableHandle

from sbs.nn.fixed_point import DQReLU, FixedPoint
from sbs.nn.quantizers.dq import input_quantizer, weight_quantizer
from sbs.quantization.peers import dq_bits, dq_fake_quantize
from sbs.surgery.intervals import InputSample

STEPS = [2.0**power for power in range(-8, 1)]
"""Step sizes that a fit tries: all powers of two that DQ allows."""


def quantizers(model: nn.Module) -> Iterator[FixedPoint]:
    """All quantizers of a network."""
    return (module for module in model.modules() if isinstance(module, FixedPoint))


@torch.no_grad()
def fit_steps(model: nn.Module, samples: Mapping[str, InputSample], bits: int) -> None:
    """Start every tensor at the step size of least squared error, with all levels of ``bits``.

    Args:
        model: network of :func:`sbs.nn.quantizers.dq.dq_network`.
        samples: of the plain network, outputs of the ReLUs and inputs of the layers, by name.
        bits: initial bitwidth.
    """
    for name, module in model.named_modules():
        if isinstance(module, DQReLU):
            _fit(module.quantizer, samples[name].values, bits)
        elif (own := input_quantizer(module)) is not None:
            _fit(own, samples[name].values, bits)
        elif isinstance(module, ParametrizationList):
            quantizer = module[0]
            assert isinstance(quantizer, FixedPoint)
            _fit(quantizer, module.original, bits)


def _fit(quantizer: FixedPoint, values: Tensor, bits: int) -> None:
    levels = 2 ** (bits - int(quantizer.signed)) - 1

    def error(step: float) -> float:
        d = values.new_tensor(step)
        fitted = dq_fake_quantize(values, d, d * levels, signed=quantizer.signed)
        return float((fitted - values).square().mean())

    best = min(STEPS, key=error)
    quantizer.step.fill_(best)
    quantizer.largest.fill_(best * levels)


def kilobytes(model: nn.Module, batch: int, *, weights: bool) -> Tensor:
    """Size of all weights and biases, or of all activations of one image; differentiable.

    Args:
        model: the network, after a forward pass.
        batch: number of images in that pass.
        weights: true for weights and biases, false for activations. 1 KB is 1024 bytes, as in DQ.
    """
    chosen = [quantizer for quantizer in quantizers(model) if quantizer.weights == weights]
    steps = torch.stack([quantizer.step for quantizer in chosen])
    ranges = torch.stack([quantizer.largest for quantizer in chosen])
    elements = steps.new_tensor([quantizer.elements for quantizer in chosen])
    signs = steps.new_tensor([float(quantizer.signed) for quantizer in chosen])
    bits = dq_bits(steps, ranges, signed=False) + signs
    return (bits * elements).sum() / (8 * 1024 * (1 if weights else batch))


def layer_bits(
    model: nn.Module, image: tuple[int, ...], first_bits: int
) -> dict[str, tuple[int, int]]:
    """Weight and input bits of every layer; input bits come from the quantizer of that input.

    Args:
        model: the network; not changed.
        image: shape (C, H, W) of an image.
        first_bits: bits of the image.
    """
    recorder = _Recorder(first_bits)
    handles = [recorder.watch(name, module) for name, module in model.named_modules()]
    training = model.training
    with torch.no_grad():
        model.eval()(next(model.parameters()).new_zeros(1, *image))
    model.train(training)
    for handle in handles:
        if handle is not None:
            handle.remove()
    return recorder.bits


class _Recorder:
    """Observes one forward pass: which quantizer made the input of which layer."""

    def __init__(self, first_bits: int) -> None:
        self.bits: dict[str, tuple[int, int]] = {}
        self._latest = first_bits
        self._made: list[tuple[Tensor, int]] = []

    def watch(self, name: str, module: nn.Module) -> RemovableHandle | None:
        if isinstance(module, DQReLU):
            return module.register_forward_hook(self._after_relu)
        if isinstance(module, nn.Conv2d | nn.Linear):
            return module.register_forward_pre_hook(partial(self._before_layer, name))
        return None

    def _after_relu(self, module: nn.Module, _: object, y: Tensor) -> None:
        assert isinstance(module, DQReLU)
        self._latest = int(module.quantizer.bits())
        self._made.append((y, self._latest))

    def _before_layer(self, name: str, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        own = input_quantizer(module)
        # Pooled values have the bits of the quantized values before pooling.
        made = next((bits for y, bits in self._made if y is args[0]), self._latest)
        input_bits = made if own is None else int(own.bits())
        self.bits[name] = (int(weight_quantizer(module).bits()), input_bits)
