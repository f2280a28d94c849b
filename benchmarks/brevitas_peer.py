"""A trained network, quantized by Brevitas."""

from __future__ import annotations

import brevitas.nn as quantized
from brevitas.quant import Int8ActPerTensorFloat, Uint8ActPerTensorFloat
from torch import nn


def quantize(model: nn.Module, bits: int) -> nn.Module:
    """Quantize weights, and activations after each ReLU, with Brevitas' defaults; in place.

    The first and the last layer have 8 bits, for their inputs too, as in all methods here. The
    layers keep their weights.
    """
    convolutions = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Conv2d):
            first = name == convolutions[0]
            new: nn.Module = quantized.QuantConv2d(
                module.in_channels,
                module.out_channels,
                module.kernel_size,
                module.stride,
                module.padding,
                bias=False,
                weight_bit_width=8 if first else bits,
                input_quant=Int8ActPerTensorFloat if first else None,
            )
        elif isinstance(module, nn.ReLU):
            new = quantized.QuantReLU(bit_width=bits)
        elif isinstance(module, nn.Linear):
            new = quantized.QuantLinear(
                module.in_features,
                module.out_features,
                bias=True,
                weight_bit_width=8,
                input_quant=Uint8ActPerTensorFloat,
            )
        else:
            continue
        new.load_state_dict(module.state_dict(), strict=False)
        model.set_submodule(name, new)
    return model
