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
#     title: Costs of fixed precision
#     category: Tables
#     caption: |
#       Bit operations and memory of every network of the paper at full and at fixed precision, as
#       computed here and as printed there, on CIFAR-100 and ImageNet. They follow from the networks
#       and need no training, so they are the same at every scale.
#     inputs:
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/costs.csv
#       markdown_path: <results>/costs.md
#     shows: markdown_path
# ---

# %% [markdown]
# # What full and fixed precision cost
#
# All rows of the paper's tables whose cost follows from a network and its bits. The first and the
# last layer of a quantized network have 8 bits.

# %% tags=["parameters"]
published_path = "config/published.csv"
csv_path = "results/costs.csv"
markdown_path = "results/costs.md"

# %%
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from sbs.provenance.files import atomic_write_text
from sbs.results.fixed_costs import fixed_costs, rendering

costs = fixed_costs(pd.read_csv(published_path))
costs.to_csv(csv_path, index=False)
costs

# %%
text = rendering(costs)
atomic_write_text(Path(markdown_path), text)
Markdown(text)
