"""Results of a trained DQ network (Uhlich et al. 2020): sizes, and bitwidths of every layer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sbs.nn.fixed_point import DQReLU, FixedPoint
from sbs.nn.quantizers.dq import weight_quantizer
from sbs.quantization.peers import dq_bits


def quantizers(model: nn.Module) -> Iterator[FixedPoint]:
    """All quantizers of a network."""
    return (module for module in model.modules() if isinstance(module, FixedPoint))


def kilobytes(model: nn.Module, batch: int, *, signed: bool) -> Tensor:
    """Size of all weights and biases, or of all activations of one image; differentiable.

    Args:
        model: the network, after a forward pass.
        batch: number of images in that pass.
        signed: true for weights and biases, false for activations. 1 KB is 1024 bytes, as in DQ.
    """
    chosen = [quantizer for quantizer in quantizers(model) if quantizer.signed == signed]
    steps = torch.stack([quantizer.step for quantizer in chosen])
    ranges = torch.stack([quantizer.largest for quantizer in chosen])
    elements = steps.new_tensor([quantizer.elements for quantizer in chosen])
    bits = dq_bits(steps, ranges, signed=signed)
    return (bits * elements).sum() / (8 * 1024 * (1 if signed else batch))


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
        model.eval()(torch.zeros(1, *image, device=next(model.parameters()).device))
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
        # Pooled values have the bits of the quantized values before pooling.
        input_bits = next((bits for y, bits in self._made if y is args[0]), self._latest)
        self.bits[name] = (int(weight_quantizer(module).bits()), input_bits)
