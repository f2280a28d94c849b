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
#     title: Search space
#     category: Theory
#     caption: |
#       Number of configurations that a search chooses from, as powers of ten: by the paper's Eq. K,
#       and from the layers and filter groups of each network.
#     inputs:
#       spaces_path: <results>/theory/search-space.csv
#     outputs:
#       csv_path: <results>/search_space.csv
#     shows: csv_path
# ---

# %% [markdown]
# # Appendix E: the size of the search space
#
# Decimal logarithms: by Eq. K over all layers, and the number of policies that a search can return.

# %% tags=["parameters"]
spaces_path = "results/theory/search-space.csv"
csv_path = "results/search_space.csv"

# %%
import pandas as pd

spaces = pd.read_csv(spaces_path)
spaces.to_csv(csv_path, index=False)
spaces
