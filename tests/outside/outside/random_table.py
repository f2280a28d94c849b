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
#     title: Random bits against searched bits
#     category: Tables
#     caption: Measured at the scale {{ config.scale }}.
#     inputs:
#       runs_path: <results>/runs/random_table.csv
#     outputs:
#       csv_path: <results>/random_table.csv
#     shows: csv_path
# ---

# %% [markdown]
# # Random bits against searched bits

# %% tags=["parameters"]
runs_path = "results/runs/random_table.csv"
csv_path = "results/random_table.csv"

# %%
import pandas as pd

from sbs.registry.methods import methods

runs = pd.read_csv(runs_path)
table = runs[["network", "method", "seed", "top1", "bops", "target"]]
table.insert(2, "label", table["method"].map(lambda name: methods()[name].label))
table.to_csv(csv_path, index=False)
table
