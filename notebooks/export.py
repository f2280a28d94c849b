# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   sbs:
#     title: Exported networks
#     category: Tables
#     caption: |
#       Compressed networks on disk: as packed integers, beside the memory that the cost model
#       counts for their weights, and as ONNX, beside the network in full precision as ONNX; in KB
#       of 1000 bytes. Milliseconds are the median of onnxruntime's runs on one image with one
#       thread, while other work went on. It computes in single precision and decodes the weights in
#       every run, so a few bits make the file smaller, but the network slower.
#     inputs:
#       runs_path: <results>/runs/export.csv
#       sizes_paths: ["<results>/export/{run}/sizes.json"]
#       latency_paths: ["<results>/export/{run}/latency.json"]
#     outputs:
#       csv_path: <results>/export.csv
#     shows: csv_path
# ---

# %% [markdown]
# # Exported networks: sizes beside the memory model, and times
#
# One seed of the runs that Table 2 compares, except SBS-P, whose weights stay in full precision.

# %% tags=["parameters"]
sizes_paths = ""
latency_paths = ""
runs_path = "results/runs/export.csv"
csv_path = "results/export.csv"

# %%
from pathlib import Path

import pandas as pd

from sbs.results.exports import export_sizes

sizes = [Path(path) for path in sizes_paths.split()]
latencies = [Path(path) for path in latency_paths.split()]
table = export_sizes(sizes, latencies, pd.read_csv(runs_path))
table.to_csv(csv_path, index=False)
table
