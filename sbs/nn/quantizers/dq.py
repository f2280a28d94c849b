"""Quantizer of DQ: every weight, bias and activation tensor learns its own step size and range.

Activation quantizers replace the ReLUs, so a shortcut carries quantized values too. The authors
have no rule for networks with other nonlinearities, such as MobileNets. There each layer quantizes
its own input, with a sign where the input can be negative, and the nonlinearities stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from sbs.nn.fixed_point import STEP_RANGE, DQReLU, FixedPoint, activation_quantizer
from sbs.nn.quantizers.base import Quantizer, register
from sbs.quantization.grid import WeightGrid

ANY_BITS = 8
"""Initial bitwidth of a network whose steps and ranges are then loaded with the weights."""


class DQQuantizer(Quantizer):
    """The search learns weights, steps and ranges together, so no fine-tuning follows."""

    name = "dq"
    own_layout = True

    def network(
        self,
        model: nn.Module,
        swap_layers: Callable[[], nn.Module],
        signed_inputs: Collection[str],
    ) -> nn.Module:
        """The plain network with quantizers of weights and activations."""
        return dq_network(model, ANY_BITS, signed_inputs)

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


def dq_network(model: nn.Module, bits: int, signed_inputs: Collection[str] = ()) -> nn.Module:
    """Add DQ's quantizers to a plain network, in place.

    Args:
        model: the network. Step sizes start at ``2^floor(log2(max|W| / (2^(b-1) - 1)))``; above 4
            bits with the ceiling instead of the floor, as in the authors' code. A bias starts with
            the step size of its layer's weights.
        bits: initial bitwidth b of all tensors.
        signed_inputs: names of the layers whose input can be negative; of no meaning if all
            nonlinearities are ReLUs.
    """
    device = next(model.parameters()).device
    rectified = _nonlinearities(model) == {nn.ReLU}
    first = True
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.ReLU) and rectified:
            model.set_submodule(name, DQReLU(bits, device))
        elif isinstance(module, nn.Conv2d | nn.Linear):
            if not rectified and not first:
                signed = name in signed_inputs
                module.input_quantizer = activation_quantizer(bits, signed=signed, device=device)
                module.register_forward_pre_hook(_quantize_input)
            _quantize_parameters(module, bits)
            first = False
    return model


def weight_quantizer(layer: nn.Module) -> FixedPoint:
    """The quantizer of a layer's weights."""
    weight: Any = layer.parametrizations.weight  # type: ignore[union-attr]
    quantizer = weight[0]
    assert isinstance(quantizer, FixedPoint)
    return quantizer


def input_quantizer(layer: nn.Module) -> FixedPoint | None:
    """The quantizer of a layer's input; None if the input comes from a quantizer already."""
    quantizer = getattr(layer, "input_quantizer", None)
    assert quantizer is None or isinstance(quantizer, FixedPoint)
    return quantizer


def _quantize_input(layer: nn.Module, args: tuple[Tensor, ...]) -> Tensor:
    result: Tensor = layer.input_quantizer(args[0])  # type: ignore[operator]
    return result


def _quantize_parameters(layer: nn.Conv2d | nn.Linear, bits: int) -> None:
    weights = layer.weight.detach()
    for part in ("weight", "bias"):
        if getattr(layer, part) is not None:
            register_parametrization(layer, part, _quantizer_of(weights, bits))


def _quantizer_of(values: Tensor, bits: int) -> FixedPoint:
    peak = float(values.detach().abs().max())
    whole = math.floor if bits <= 4 else math.ceil
    step = 2.0 ** whole(math.log2(max(peak, 1e-8) / (2 ** (bits - 1) - 1)))
    step = min(max(step, STEP_RANGE[0]), STEP_RANGE[1])
    return FixedPoint(step, bits, signed=True, weights=True, device=values.device)


def _nonlinearities(model: nn.Module) -> set[type[nn.Module]]:
    kinds = {type(module) for module in model.modules()}
    return {kind for kind in kinds if kind.__module__ == "torch.nn.modules.activation"}
