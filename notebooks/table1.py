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
#     title: Table 1
#     category: Tables
#     caption: |
#       All methods compared by bit operations (BOPs): the accuracy of networks that cost at most as
#       much as one with 4 bits everywhere, and the search cost. Random bits at the same cost and
#       full precision, fine-tuned as long, are controls of ours. Measured at the scale
#       {{ config.scale }}; columns named "published" hold the paper's values, on CIFAR-100. The
#       picture below the table shows the same numbers.
#     inputs:
#       runs_path: <results>/runs/table1.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/table1.csv
#       markdown_path: <results>/table1.md
#       metrics_path: <results>/metrics/table1
#       figure_path: <results>/table1.svg
#     shows: markdown_path
# ---

# %% [markdown]
# # Table 1: methods compared by bit operations
#
# Accuracy is the mean over seeds with the sample standard deviation. Columns named "published" hold
# the paper's values, on CIFAR-100.

# %% tags=["parameters"]
runs_path = "results/runs/table1.csv"
published_path = "config/published.csv"
csv_path = "results/table1.csv"
markdown_path = "results/table1.md"
metrics_path = "results/metrics/table1"
figure_path = "results/table1.svg"

# %%
import pandas as pd
from IPython.display import Markdown

from sbs.plots.exhibits import write_table
from sbs.results.tables import table_of_runs

runs = pd.read_csv(runs_path)
runs[["network", "method", "variant", "seed", "top1", "top5", "bops", "search_seconds"]]

# %%
table = table_of_runs("table1", runs, pd.read_csv(published_path))
table

# %%
text = write_table(
    table,
    "Table 1",
    csv=csv_path,
    markdown=markdown_path,
    metrics=metrics_path,
    figure=figure_path,
)
Markdown(text)
