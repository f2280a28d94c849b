"""Sizes of exported networks beside what the memory model says of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sbs.results.rows import label


def export_sizes(paths: Sequence[Path], runs: pd.DataFrame) -> pd.DataFrame:
    """A row an exported network, sizes in KB of 1000 bytes.

    Args:
        paths: ``sizes.json`` of ``sbs export``, below folders of network, method, variant and seed.
        runs: what :func:`sbs.results.collect.collect` gives.

    Returns:
        A row a file: ``weights_kb`` by the cost model, ``packed_kb`` of the packed words,
        ``file_kb`` with everything else, ``memory_kb`` of Table 2, which counts activations too.
    """
    rows = []
    for path in paths:
        network, method, variant, seed = path.parts[-5:-1]
        sizes = json.loads(path.read_text())
        run = runs[
            (runs["network"] == network)
            & (runs["method"] == method)
            & (runs["variant"] == variant)
            & (runs["seed"] == int(seed.removeprefix("seed-")))
        ]
        rows.append(
            {"network": network, "method": method, "label": label(method)}
            | {"weights_kb": sizes["claimed"] / 1e3, "packed_kb": sizes["packed"] / 1e3}
            | {"packed_over_weights": sizes["packed"] / sizes["claimed"]}
            | {"file_kb": sizes["file"] / 1e3, "memory_kb": run["memory_bytes"].item() / 1e3}
        )
    return pd.DataFrame(rows)
