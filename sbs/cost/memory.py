"""Memory footprint (section 4.1, following DQ): weights and input activations, in bytes."""

from __future__ import annotations

from sbs.cost.layers import LayerShape


def layer_bytes(shape: LayerShape, weight_bits: int, activation_bits: int) -> float:
    """Bytes of one layer's weights and of its input for one image. A KB is 1000 of them."""
    bits = shape.weight_elements * weight_bits + shape.input_elements * activation_bits
    return bits / 8
