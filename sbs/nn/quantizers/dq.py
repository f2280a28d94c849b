"""Quantizer of DQ: every weight, bias and activation tensor learns its own step size and range.

Activation quantizers replace the ReLUs, so a shortcut carries quantized values too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from sbs.errors import SBSError
from sbs.nn.fixed_point import STEP_RANGE, DQReLU, FixedPoint
from sbs.nn.quantizers.base import Quantizer, register
from sbs.quantization.grid import WeightGrid

ANY_BITS = 8
"""Initial bitwidth of a network whose steps and ranges are then loaded with the weights."""


class DQQuantizer(Quantizer):
    """The search learns weights, steps and ranges together, so no fine-tuning follows."""

    name = "dq"
    own_layout = True

    def network(self, model: nn.Module, swap_layers: Callable[[], nn.Module]) -> nn.Module:
        """The plain network with quantized weights, and quantizers instead of ReLUs."""
        return dq_network(model, ANY_BITS)

    def weight_key(self, layer: str) -> str:
        """Name of the weights before quantization."""
        return f"{layer}.parametrizations.weight.original"

    def quantized_weight(self, layer: nn.Module) -> Tensor:
        """Weights after quantization (by the parametrization)."""
        weight = layer.weight
        assert isinstance(weight, Tensor)
        return weight

    def weight_grid(self, layer: nn.Module) -> WeightGrid:
        """Grid of multiples of the step size."""
        return weight_quantizer(layer).grid(tuple(self.quantized_weight(layer).shape))

    def hold_quantized(self, layer: nn.Module) -> None:
        """Do nothing: values on the grid do not change."""


DQ = register(DQQuantizer())


def dq_network(model: nn.Module, bits: int) -> nn.Module:
    """Add DQ's quantizers to a plain network with ReLUs, in place.

    Args:
        model: the network. Step sizes start at ``2^floor(log2(max|W| / (2^(b-1) - 1)))``; above 4
            bits with the ceiling instead of the floor, as in the authors' code. A bias starts with
            the step size of its layer's weights.
        bits: initial bitwidth b of all tensors.

    Raises:
        SBSError: the network has no ReLU, or has another nonlinearity, whose output would stay at
            full precision.
    """
    kinds = {type(module) for module in model.modules()}
    others = sorted(kind.__name__ for kind in kinds - {nn.ReLU} if _is_nonlinearity(kind))
    if others or nn.ReLU not in kinds:
        raise SBSError(
            "DQ quantizes activations at ReLUs, but this network has "
            f"{', '.join(others) or 'none'}; use a ResNet"
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


def weight_quantizer(layer: nn.Module) -> FixedPoint:
    """The quantizer of a layer's weights."""
    weight: Any = layer.parametrizations.weight  # type: ignore[union-attr]
    quantizer = weight[0]
    assert isinstance(quantizer, FixedPoint)
    return quantizer


def _quantizer_of(values: Tensor, bits: int) -> FixedPoint:
    peak = float(values.detach().abs().max())
    whole = math.floor if bits <= 4 else math.ceil
    step = 2.0 ** whole(math.log2(max(peak, 1e-8) / (2 ** (bits - 1) - 1)))
    step = min(max(step, STEP_RANGE[0]), STEP_RANGE[1])
    return FixedPoint(step, bits, signed=True, device=values.device)


def _is_nonlinearity(kind: type[nn.Module]) -> bool:
    return kind.__module__ == "torch.nn.modules.activation"
