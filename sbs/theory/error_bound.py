"""Figure 2: change of the quantization error with the bitwidth, and the bound of Corollary 1."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd
import torch

from sbs.quantization.uniform import discretize, num_steps

BITWIDTHS = (2, 4, 8, 16, 32)
"""The change at 16 bits is the change from 16 to 32."""

SIZE = 100
SEEDS = range(5)


def table() -> pd.DataFrame:
    """One row per seed and bitwidth b_K: ``|ε_K - ε_(K+1)|`` and ``C / (2^bK - 1)`` of Eq. 9.

    z is drawn from [0, 1]^100; errors are computed in double precision.
    """
    rows = []
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        z = torch.rand(SIZE, generator=generator, dtype=torch.float64)
        norm = float(z.sum())
        errors = {bits: float((z - discretize(z, bits)).abs().sum()) / norm for bits in BITWIDTHS}
        for low, high in pairwise(BITWIDTHS):
            change, bound = abs(errors[low] - errors[high]), SIZE / norm / num_steps(low)
            rows.append({"seed": seed, "bits": low, "change": change, "bound": bound})
    return pd.DataFrame(rows)
