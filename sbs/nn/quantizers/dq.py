"""DQ's quantizer: every weight, bias and activation has learnt step and range of its own.

Activation quantizers stand in for the ReLUs, so that a shortcut carries quantized values too.
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
"""What a network starts at whose steps and ranges come with the weights."""


class DQQuantizer(Quantizer):
    """A search learns weights, steps and ranges at once, and so is all the training there is."""

    name = "dq"
    needs_finetuning = False
    own_layout = True

    def network(self, model: nn.Module, swap_layers: Callable[[], nn.Module]) -> nn.Module:
        """The plain network with quantizers around its weights and in the place of its ReLUs."""
        return dq_network(model, ANY_BITS)

    def weight_key(self, layer: str) -> str:
        """The weights before their quantizer."""
        return f"{layer}.parametrizations.weight.original"

    def quantized_weight(self, layer: nn.Module) -> Tensor:
        """The parametrized weights."""
        weight = layer.weight
        assert isinstance(weight, Tensor)
        return weight

    def weight_grid(self, layer: nn.Module) -> WeightGrid:
        """Multiples of the step."""
        return weight_quantizer(layer).grid(tuple(self.quantized_weight(layer).shape))

    def hold_quantized(self, layer: nn.Module) -> None:
        """Nothing: values on the grid stay as they are."""


DQ = register(DQQuantizer())


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
