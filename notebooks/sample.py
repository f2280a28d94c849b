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
#     title: What ran on the sample
#     category: Tables
#     caption: |
#       Every stage of every method ran a few steps at the scale {{ config.scale }}. It shows that
#       all of it runs on real images and real weights. The networks have learnt nothing, so there
#       are no accuracies here, and the policies say nothing about the methods.
#     inputs:
#       runs_path: <results>/runs/sample.csv
#     outputs:
#       csv_path: <results>/sample.csv
#       markdown_path: <results>/sample.md
#     shows: markdown_path
# ---

# %% [markdown]
# # What ran on the sample
#
# A few steps of each stage of each method. There are no accuracies: the networks have learnt
# nothing.

# %% tags=["parameters"]
runs_path = "results/runs/sample.csv"
csv_path = "results/sample.csv"
markdown_path = "results/sample.md"

# %%
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from sbs.results.sample import what_ran

table = what_ran(pd.read_csv(runs_path))
table.to_csv(csv_path, index=False)

# %%
known = table.astype(object).where(table.notna(), None)
text = known.to_markdown(index=False, floatfmt=".2f", missingval="–") + "\n"
Path(markdown_path).write_text(text)
Markdown(text)
