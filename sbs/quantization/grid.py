"""The grid of a layer's quantized weights, and the integer codes of its levels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class WeightGrid:
    """Meaning of a layer's codes: the weight is ``code * scale + offset``.

    Attributes:
        bits: bitwidth.
        shape: shape of the weights.
        scale: distance between neighbouring levels.
        offset: value of code 0.
    """

    bits: int
    shape: tuple[int, ...]
    scale: float
    offset: float

    def decode(self, codes: Tensor) -> Tensor:
        """Weights in single precision, computed with the same operations as the kernels."""
        scale, offset = (torch.tensor(v, dtype=torch.float32) for v in (self.scale, self.offset))
        return (codes.to(torch.float32) * scale + offset).view(self.shape)

    def encode(self, weights: Tensor) -> Tensor:
        """Codes of weights that already lie on the grid."""
        codes = ((weights.double() - self.offset) / self.scale).round()
        return codes.clamp(0, 2**self.bits - 1).to(torch.int64)
