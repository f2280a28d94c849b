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
#     title: How searches end
#     category: Tables
#     caption: |
#       Searches with gates at the scale {{ config.scale }}: how many ended with a policy that costs
#       the target or up to 5 % less, without a landing step (in_band), and in how many the settled
#       cost varied by at most 3 % over the last fifth (steady).
#     inputs:
#       runs_path: <results>/runs/all.csv
#     outputs:
#       csv_path: <results>/landing.csv
#       markdown_path: <results>/landing.md
#     shows: markdown_path
# ---

# %% [markdown]
# # How searches end by themselves

# %% tags=["parameters"]
runs_path = "results/runs/all.csv"
csv_path = "results/landing.csv"
markdown_path = "results/landing.md"

# %%
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from sbs.results.landing import landing_table

table = landing_table(pd.read_csv(runs_path))
table.to_csv(csv_path, index=False)

# %%
text = table.to_markdown(index=False, floatfmt=".1f") + "\n"
Path(markdown_path).write_text(text)
Markdown(text)
