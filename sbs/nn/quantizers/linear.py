"""Quantizer of HAQ: symmetric linear weights with calibrated ranges, activations of PACT."""

from __future__ import annotations

from torch import Tensor

from sbs.kernels import fused as kernels
from sbs.nn.quantizers.base import LayerQuantizer, register
from sbs.quantization.peers import linear_fake_quantize
from sbs.quantization.uniform import num_steps


class LinearQuantizer(LayerQuantizer):
    """Weights, and signed inputs, on a symmetric grid that contains zero."""

    name = "linear"

    def fake_quantize_weight(self, w: Tensor, interval: Tensor, bits: int) -> Tensor:
        """HAQ's weights; the interval is the range, which calibration sets."""
        return linear_fake_quantize(w, interval, bits)

    def fake_quantize_input(
        self, x: Tensor, interval: Tensor, bits: int, *, signed: bool
    ) -> Tensor:
        """Signed inputs like the weights; other inputs as in PACT."""
        if signed:
            return linear_fake_quantize(x, interval, bits)
        return kernels.pact(x, interval, bits)

    def joined_spec(
        self, interval: Tensor, bits: int, *, signed: bool
    ) -> kernels.QuantizerSpec | None:
        """That of PACT; no kernel joins the grid of signed inputs."""
        return None if signed else kernels.fixed(interval, bits, signed=False, clip_only=True)

    def scale_and_offset(self, interval: Tensor, bits: int) -> tuple[float, float]:
        """2^b - 1 levels from -t to t."""
        limit = float(interval.detach())
        return limit / num_steps(bits - 1), -limit


LINEAR = register(LinearQuantizer())
