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
#     title: Table 7
#     category: Tables
#     caption: |
#       SBS in one search, and as SBS-P followed by SBS-Q or the other way round, with the first
#       choice held. All end at the same cost, after equally many epochs of search. The paper does
#       not say how it split the cost between the stages. Here pruning is to save 3, 10 or 20 % of
#       it, and the best split is the one with the smallest training loss, not the one with the best
#       test accuracy. Measured at the scale {{ config.scale }}; columns named "published" hold the
#       paper's values, on CIFAR-100.
#     inputs:
#       runs_path: <results>/runs/table7.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/table7.csv
#       markdown_path: <results>/table7.md
#       metrics_path: <results>/metrics/table7
#       figure_path: <results>/table7.svg
#     shows: markdown_path
# ---

# %% [markdown]
# # Table 7: pruning and quantization in one stage or in two
#
# The published values stand beside the best split.

# %% tags=["parameters"]
runs_path = "results/runs/table7.csv"
published_path = "config/published.csv"
csv_path = "results/table7.csv"
markdown_path = "results/table7.md"
metrics_path = "results/metrics/table7"
figure_path = "results/table7.svg"

# %%
import pandas as pd
from IPython.display import Markdown

from sbs.plots.exhibits import write_table
from sbs.results.two_stage import table7

runs = pd.read_csv(runs_path)
runs[["network", "method", "variant", "seed", "top1", "top5", "bops", "search_seconds"]]

# %%
table = table7(runs, pd.read_csv(published_path))
table

# %%
text = write_table(
    table,
    "Table 7",
    csv=csv_path,
    markdown=markdown_path,
    metrics=metrics_path,
    figure=figure_path,
)
Markdown(text)
