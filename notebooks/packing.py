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
#       Appendix D: how many codes of a bitwidth fit in a word of 32 bits, and how many bits stay
#       unused.
#     inputs:
#       packing_path: <results>/theory/packing.csv
#     outputs:
#       csv_path: <results>/packing.csv
#     shows: csv_path
# ---

# %% [markdown]
# # Appendix D: packing
#
# Codes of a bitwidth that does not divide 32 leave bits of every word empty.

# %% tags=["parameters"]
packing_path = "results/theory/packing.csv"
csv_path = "results/packing.csv"

# %%
import pandas as pd

packing = pd.read_csv(packing_path)
packing.to_csv(csv_path, index=False)
packing
