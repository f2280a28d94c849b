"""Sizes and times of exported networks, beside the sizes of the memory model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sbs.results.rows import label


def export_sizes(
    paths: Sequence[Path], latencies: Sequence[Path], runs: pd.DataFrame
) -> pd.DataFrame:
    """One row per exported network; sizes in KB of 1000 bytes.

    Args:
        paths: files ``sizes.json`` of ``sbs export``, in folders network/method/variant/seed.
        latencies: files ``latency.json`` of ``sbs latency``, of the same networks.
        runs: table of :func:`sbs.results.collect.collect`.

    Returns:
        One row per file. ``weights_kb``: weights by the cost model. ``packed_kb``: packed words.
        ``file_kb``: the whole file. ``memory_kb``: as in Table 2, which also counts activations.
        ``onnx_kb`` and ``float_kb``: the files of ONNX, of this network and of its original in full
        precision. ``onnx_ms`` and ``float_ms``: onnxruntime's time for one image.
    """
    rows = []
    for path, latency in zip(paths, latencies, strict=True):
        network, method, variant, seed = path.parts[-5:-1]
        sizes, measured = json.loads(path.read_text()), json.loads(latency.read_text())
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
            | {f"{kind}_kb": measured[f"{kind}_bytes"] / 1e3 for kind in ("onnx", "float")}
            | {f"{kind}_ms": measured[f"{kind}_ms"] for kind in ("onnx", "float")}
            | {"ms_over_float": measured["onnx_ms"] / measured["float_ms"]}
        )
    return pd.DataFrame(rows)
