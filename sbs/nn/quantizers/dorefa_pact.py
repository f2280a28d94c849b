"""Quantizer of DNAS: weights of DoReFa-Net, activations of PACT."""

from __future__ import annotations

from torch import Tensor

from sbs.kernels import fused as kernels
from sbs.nn.quantizers.base import LayerQuantizer, register
from sbs.quantization.peers import dorefa_weight
from sbs.quantization.uniform import num_steps


class DoReFaPactQuantizer(LayerQuantizer):
    """Weights in [-1, 1], inputs in [0, c]."""

    name = "dorefa_pact"
    learns_weight_interval = False

    def fake_quantize_weight(self, w: Tensor, interval: Tensor, bits: int) -> Tensor:
        """DoReFa-Net's weights; the interval is not used."""
        return dorefa_weight(w, bits)

    def fake_quantize_input(
        self, x: Tensor, interval: Tensor, bits: int, *, signed: bool
    ) -> Tensor:
        """PACT's activations. PACT has no rule for signed inputs; Eq. 2 is used for them."""
        if signed:
            return kernels.fake_quantize(x, interval, bits, signed=True)
        return kernels.pact(x, interval, bits)

    def joined_spec(
        self, interval: Tensor, bits: int, *, signed: bool
    ) -> kernels.QuantizerSpec | None:
        """The fixed bitwidth; PACT's gradient for inputs without sign."""
        return kernels.fixed(interval, bits, signed=signed, clip_only=not signed)

    def scale_and_offset(self, interval: Tensor, bits: int) -> tuple[float, float]:
        """2^b levels from -1 to 1."""
        return 2 / num_steps(bits), -1.0


DOREFA_PACT = register(DoReFaPactQuantizer())
