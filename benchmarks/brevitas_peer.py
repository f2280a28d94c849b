"""The same networks, quantized by Brevitas."""

from __future__ import annotations

import brevitas.nn as quantized
from torch import nn


def quantize(model: nn.Module, bits: int) -> nn.Module:
    """Quantize weights, and activations after each ReLU, with Brevitas' defaults; in place.

    The first and the last layer have 8 bits, as in all methods here.
    """
    convolutions = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Conv2d):
            width = 8 if name == convolutions[0] else bits
            new: nn.Module = quantized.QuantConv2d(
                module.in_channels,
                module.out_channels,
                module.kernel_size,
                module.stride,
                module.padding,
                bias=False,
                weight_bit_width=width,
            )
        elif isinstance(module, nn.ReLU):
            new = quantized.QuantReLU(bit_width=bits)
        elif isinstance(module, nn.Linear):
            new = quantized.QuantLinear(
                module.in_features, module.out_features, bias=True, weight_bit_width=8
            )
        else:
            continue
        model.set_submodule(name, new)
    return model
