"""Appendices D and E as tables: unused bits of packed codes, and sizes of search spaces."""

from __future__ import annotations

import math

import pandas as pd

from sbs.cost.trace import trace_layers
from sbs.networks import get_spec
from sbs.quantization.packing import WORD, codes_per_word, wasted_bits
from sbs.registry.networks import networks
from sbs.theory.search_space import choices, equation_k

PACKED_BITWIDTHS = (2, 3, 4, 6, 8, 12)
CANDIDATES = 3
CIFAR_GROUP, IMAGENET_GROUP = 4, 16
"""Filters per pruning group (section 4.2)."""


def packing() -> pd.DataFrame:
    """One row per bitwidth: codes per 32-bit word, and the unused bits of the word."""
    return pd.DataFrame(
        {
            "bits": bits,
            "codes_per_word": codes_per_word(bits),
            "wasted_bits": wasted_bits(bits),
            "wasted_percent": 100 * wasted_bits(bits) / WORD,
        }
        for bits in PACKED_BITWIDTHS
    )


def search_spaces() -> pd.DataFrame:
    """One row per network; sizes are decimal logarithms.

    ``equation_k`` counts all convolutions and linear layers. The other columns count the policies
    that the search of this project can return.
    """
    rows = []
    for name in networks():
        spec = get_spec(name)
        model = spec.build(spec.classes, 3)
        layers = trace_layers(model, (3, spec.image_size, spec.image_size))
        group = CIFAR_GROUP if spec.image_size == 32 else IMAGENET_GROUP
        found = choices(layers, spec.prunables(model), CANDIDATES, group)
        counted = equation_k([layer.out_channels for layer in layers], CANDIDATES, group)
        rows.append(
            {"network": name, "layers": len(layers), "group_size": group}
            | {"equation_k": math.log10(counted)}
            | {key: math.log10(size) for key, size in found.items()}
        )
    return pd.DataFrame(rows)
