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
#       Compressed networks written to disk as packed integers, beside the memory that the cost
#       model counts for their weights, in KB of 1000 bytes.
#     inputs:
#       runs_path: <results>/runs/export.csv
#       sizes_paths: ["<results>/export/{run}/sizes.json"]
#     outputs:
#       csv_path: <results>/export.csv
#     shows: csv_path
# ---

# %% [markdown]
# # Exported networks: packed sizes beside the memory model
#
# One seed of the runs that Table 2 compares, except SBS-P, whose weights stay in full precision.

# %% tags=["parameters"]
sizes_paths = ""
runs_path = "results/runs/export.csv"
csv_path = "results/export.csv"

# %%
from pathlib import Path

import pandas as pd

from sbs.results.exports import export_sizes

table = export_sizes([Path(path) for path in sizes_paths.split()], pd.read_csv(runs_path))
table.to_csv(csv_path, index=False)
table
