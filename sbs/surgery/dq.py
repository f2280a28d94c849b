"""The network of DQ (Uhlich et al. 2020): every weight, bias and activation has its own quantizer.

Activation quantizers stand in for the ReLUs, so that a shortcut carries quantized values too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization
from torch.utils.hooks import RemovableHandle

from sbs.errors import SBSError
from sbs.kernels import fused as kernels
from sbs.quantization.peers import dq_bits

STEP_RANGE = (2.0**-8, 1.0)
WEIGHT_RANGE = (2.0**-8, 127.0)
ACTIVATION_RANGE = (2.0**-8, 255.0)
MARGIN = 1e-5
ACTIVATION_STEP = 2.0**-3


class FixedPoint(nn.Module):
    """Step d and range q_max of one tensor."""

    def __init__(self, step: float, bits: int, *, signed: bool, device: torch.device) -> None:
        """Start at a bitwidth.

        Args:
            step: initial d.
            bits: initial bitwidth: q_max is d times the largest level.
            signed: weights, or activations after a ReLU.
            device: where the parameters are.
        """
        super().__init__()
        self.signed = signed
        largest = step * (2 ** (bits - int(signed)) - 1)
        self.step = nn.Parameter(torch.tensor(step, device=device))
        self.largest = nn.Parameter(torch.tensor(largest, device=device))
        self.elements = 0
        # Keeps the two from oscillating, as their gradients are sums over a tensor.
        for parameter in (self.step, self.largest):
            parameter.register_hook(self._clip)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """Quantize a tensor of any shape; note how many elements it has."""
        self.elements = x.numel()
        return kernels.fixed_point(x, self.step, self.largest, signed=self.signed)

    def bits(self) -> Tensor:
        """Bitwidth, differentiable."""
        return dq_bits(self.step, self.largest, signed=self.signed)

    @torch.no_grad()
    def project(self) -> None:
        """Back into the allowed ranges, with d below q_max."""
        low, high = WEIGHT_RANGE if self.signed else ACTIVATION_RANGE
        self.step.copy_(torch.minimum(self.step, self.largest - MARGIN))
        self.step.clamp_(STEP_RANGE[0] + MARGIN, STEP_RANGE[1] - MARGIN)
        self.largest.clamp_(low + MARGIN, high - MARGIN)

    def _clip(self, gradient: Tensor) -> Tensor:
        limit = self.step.detach()
        return gradient.clamp(-limit, limit)


class DQReLU(nn.Module):
    """Activation quantizer in the place of a ReLU."""

    def __init__(self, bits: int, device: torch.device) -> None:
        super().__init__()
        self.quantizer = FixedPoint(ACTIVATION_STEP, bits, signed=False, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """Clip below at zero, quantize."""
        result: Tensor = self.quantizer(x)
        return result


def dq_network(model: nn.Module, bits: int) -> nn.Module:
    """Put DQ's quantizers into a plain network with ReLUs. In place.

    Args:
        model: the network. Steps start at ``2^floor(log2(max|W| / (2^(b-1) - 1)))``, beyond 4
            bits at 2 to the ceiling as in the authors' code; a bias starts as its layer's weights.
        bits: bitwidth b that everything starts at.

    Raises:
        SBSError: the network has no ReLU, or another nonlinearity, whose output would stay in
            full precision.
    """
    kinds = {type(module) for module in model.modules()}
    others = sorted(kind.__name__ for kind in kinds - {nn.ReLU} if _is_nonlinearity(kind))
    if others or nn.ReLU not in kinds:
        raise SBSError(
            "DQ quantizes activations at ReLUs, and this network has "
            f"{', '.join(others) or 'none'}; take a ResNet"
        )
    device = next(model.parameters()).device
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.ReLU):
            model.set_submodule(name, DQReLU(bits, device))
        elif isinstance(module, nn.Conv2d | nn.Linear):
            weights = module.weight.detach()
            for part in ("weight", "bias"):
                if getattr(module, part) is not None:
                    register_parametrization(module, part, _quantizer_of(weights, bits))
    return model


def quantizers(model: nn.Module) -> Iterator[FixedPoint]:
    """All quantizers."""
    return (module for module in model.modules() if isinstance(module, FixedPoint))


def kilobytes(model: nn.Module, batch: int, *, signed: bool) -> Tensor:
    """Size of all weights and biases, or of all activations of one image; differentiable.

    Args:
        model: the network, after a forward pass.
        batch: images of that pass.
        signed: weights and biases, else activations. A kilobyte has 1024 bytes, as in DQ.
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
    """Weight and input bits of every layer: those of the quantizer that made its input.

    Args:
        model: the network; left as it is.
        image: (C, H, W).
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
    """Follows one forward pass, from quantizers to the layers that read their outputs."""

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
        # What pooling makes of quantized values counts as they do.
        input_bits = next((bits for y, bits in self._made if y is args[0]), self._latest)
        weight: Any = module.parametrizations.weight  # type: ignore[union-attr]
        self.bits[name] = (int(weight[0].bits()), input_bits)


def _quantizer_of(values: Tensor, bits: int) -> FixedPoint:
    peak = float(values.detach().abs().max())
    whole = math.floor if bits <= 4 else math.ceil
    step = 2.0 ** whole(math.log2(max(peak, 1e-8) / (2 ** (bits - 1) - 1)))
    step = min(max(step, STEP_RANGE[0]), STEP_RANGE[1])
    return FixedPoint(step, bits, signed=True, device=values.device)


def _is_nonlinearity(kind: type[nn.Module]) -> bool:
    return kind.__module__ == "torch.nn.modules.activation"
