"""Integer codes of a network's weights: what every exported format stores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from sbs.errors import SBSError
from sbs.networks.eligible import Layer
from sbs.nn.fixed_point import FixedPoint
from sbs.nn.layers import QuantLayer
from sbs.nn.quantizers import Quantizer, get_quantizer
from sbs.policy import Policy
from sbs.quantization.grid import WeightGrid


@dataclass(frozen=True)
class Codes:
    """Quantized weights of a layer.

    Attributes:
        grid: what the codes mean.
        values: the codes, int64, shaped like the weights.
    """

    grid: WeightGrid
    values: Tensor

    @property
    def weights(self) -> Tensor:
        """The weights that the codes stand for, in single precision."""
        return self.grid.decode(self.values)


def layers_of(model: nn.Module) -> dict[str, Layer]:
    """Layers of the network of a policy by name, including the parametrized ones of DQ.

    Layers that surgery has left alone are not among them.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, QuantLayer) or (isinstance(module, Layer) and _is_of_dq(module))
    }


def _is_of_dq(layer: nn.Module) -> bool:
    return is_parametrized(layer, "weight") and isinstance(
        layer.parametrizations.weight[0],  # type: ignore[union-attr,index]
        FixedPoint,
    )


def weight_codes(model: nn.Module, policy: Policy) -> dict[str, Codes]:
    """Codes of all layers whose weights are quantized, by name.

    Args:
        model: network of :func:`sbs.surgery.networks.quantized_network`, with trained weights.
        policy: its policy.

    Raises:
        SBSError: weights are not on the grid of their bitwidth.
    """
    quantizer = get_quantizer(policy.quantizer)
    found = {}
    for name, layer in layers_of(model).items():
        grid = quantizer.weight_grid(layer)
        if grid is not None:
            found[name] = Codes(grid, _codes(name, layer, quantizer, grid))
    return found


@torch.no_grad()
def _codes(name: str, layer: nn.Module, quantizer: Quantizer, grid: WeightGrid) -> Tensor:
    weights = quantizer.quantized_weight(layer).detach().cpu()
    codes = grid.encode(weights)
    error = float((grid.decode(codes) - weights).abs().max())
    if error > 1e-3 * grid.scale:
        raise SBSError(f"{name}: weights are {error:g} off the grid of {grid.bits} bits")
    return codes
