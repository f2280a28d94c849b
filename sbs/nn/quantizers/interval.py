"""Quantizer of SBS: trainable intervals (Eqs. 1-4) on standardised weights."""

from __future__ import annotations

from torch import Tensor

from sbs.kernels import fused as kernels
from sbs.nn.quantizers.base import LayerQuantizer, register
from sbs.quantization.uniform import effective_interval, num_steps


class IntervalQuantizer(LayerQuantizer):
    """Weights in [-v_w, v_w]; unsigned inputs in [0, v_x], signed inputs in [-v_x, v_x]."""

    name = "interval"
    standardizes = True

    def fake_quantize_weight(self, w: Tensor, interval: Tensor, bits: int) -> Tensor:
        """Eqs. 2-4."""
        return kernels.fake_quantize(w, interval, bits, signed=True)

    def fake_quantize_input(
        self, x: Tensor, interval: Tensor, bits: int, *, signed: bool
    ) -> Tensor:
        """Eqs. 1, 3 and 4; for signed inputs Eq. 2 instead of Eq. 1."""
        return kernels.fake_quantize(x, interval, bits, signed=signed)

    def joined_spec(
        self, interval: Tensor, bits: int, *, signed: bool
    ) -> kernels.QuantizerSpec | None:
        """The fixed bitwidth."""
        return kernels.fixed(interval, bits, signed=signed)

    def scale_and_offset(self, interval: Tensor, bits: int) -> tuple[float, float]:
        """2^b levels from -v to v."""
        v = float(effective_interval(interval.detach()))
        return 2 * v / num_steps(bits), -v


INTERVAL = register(IntervalQuantizer())
