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
# ---

# %% [markdown]
# # Exported networks: packed sizes beside the memory model
#
# The runs of Table 2, one seed each, but for SBS-P, whose weights stay in full precision.

# %% tags=["parameters"]
sizes_paths = ""
runs_path = "results/runs/table2.csv"
csv_path = "results/export.csv"

# %%
from pathlib import Path

import pandas as pd

from sbs.results.exports import export_sizes

table = export_sizes([Path(path) for path in sizes_paths.split()], pd.read_csv(runs_path))
table.to_csv(csv_path, index=False)
table
