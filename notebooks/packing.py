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
#     title: Packing
#     category: Theory
#     caption: |
#       Appendix D: the number of codes of a bitwidth that fit into a 32-bit word, and the number of
#       unused bits.
#     inputs:
#       packing_path: <results>/theory/packing.csv
#     outputs:
#       csv_path: <results>/packing.csv
#     shows: csv_path
# ---

# %% [markdown]
# # Appendix D: packing
#
# If a bitwidth does not divide 32, some bits of every word stay unused.

# %% tags=["parameters"]
packing_path = "results/theory/packing.csv"
csv_path = "results/packing.csv"

# %%
import pandas as pd

packing = pd.read_csv(packing_path)
packing.to_csv(csv_path, index=False)
packing
