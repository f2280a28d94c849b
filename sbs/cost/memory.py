"""Memory footprint (section 4.1, following DQ): weights and input activations, in bytes."""

from __future__ import annotations

from typing import Any

from sbs.registry.costs import CostModel, Sizes


def layer_bytes(sizes: Sizes, weight_bits: Any, activation_bits: Any) -> Any:
    """Bytes of a layer's weights and of its input, for one image. 1 KB is 1000 bytes."""
    bits = sizes.weight_elements * weight_bits + sizes.input_elements * activation_bits
    return bits / 8


COSTS = (CostModel("memory", "memory footprint", "KB", 1e3, layer_bytes),)
