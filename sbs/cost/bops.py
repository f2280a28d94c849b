"""Bit operations (section 4.1): MACs times weight bits times activation bits."""

from __future__ import annotations

from sbs.cost.layers import LayerShape


def layer_bops(shape: LayerShape, weight_bits: int, activation_bits: int) -> float:
    """Bit operations of one layer for one image; biases and batch norm count nothing."""
    return shape.macs * weight_bits * activation_bits
