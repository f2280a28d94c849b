"""Bit operations (section 4.1): MACs multiplied by weight bits and activation bits."""

from __future__ import annotations

from typing import Any

from sbs.registry.costs import CostModel, Sizes


def layer_bops(sizes: Sizes, weight_bits: Any, activation_bits: Any) -> Any:
    """Bit operations of a layer for one image; biases and batch norm are not counted."""
    return sizes.macs * weight_bits * activation_bits


COSTS = (CostModel("bops", "bit operations", "M BOPs", 1e6, layer_bops),)
