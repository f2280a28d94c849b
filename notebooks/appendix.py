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
# # Appendices D and E: packing, and the size of the search space
#
# Codes of a bitwidth that does not divide 32 leave bits of every word empty. Sizes of search
# spaces are decimal logarithms: Eq. K over all layers, and what the search can end with.

# %% tags=["parameters"]
packing_path = "results/theory/packing.csv"
spaces_path = "results/theory/search-space.csv"
packing_csv = "results/packing.csv"
spaces_csv = "results/search_space.csv"

# %%
import pandas as pd

packing = pd.read_csv(packing_path)
packing.to_csv(packing_csv, index=False)
packing

# %%
spaces = pd.read_csv(spaces_path)
spaces.to_csv(spaces_csv, index=False)
spaces
