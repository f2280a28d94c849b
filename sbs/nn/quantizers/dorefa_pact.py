"""Quantizer of DNAS: weights of DoReFa-Net, activations of PACT."""

from __future__ import annotations

from torch import Tensor

from sbs.nn.batch_norm import Values
from sbs.nn.quantizers import inputs
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
        self, x: Values, interval: Tensor, bits: int, *, signed: bool
    ) -> Tensor:
        """PACT's activations. PACT has no rule for signed inputs; Eq. 2 is used for them."""
        if signed:
            return inputs.fake_quantize(x, interval, bits, signed=True)
        return inputs.pact(x, interval, bits)

    def scale_and_offset(self, interval: Tensor, bits: int) -> tuple[float, float]:
        """2^b levels from -1 to 1."""
        return 2 / num_steps(bits), -1.0


DOREFA_PACT = register(DoReFaPactQuantizer())
