"""Integer codes of a network's weights: what every exported format stores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sbs.errors import SBSError
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


def layers_of(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Convolutions and linear layers by name, including the parametrized ones of DQ."""
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


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
