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
#     title: Table 2
#     category: Tables
#     caption: |
#       All methods compared by memory footprint: the searches were constrained by the memory of
#       weights and activations instead of bit operations. Measured at the scale {{ config.scale }};
#       columns named "published" hold the paper's values, on CIFAR-100. The picture below the table
#       shows the same numbers.
#     inputs:
#       runs_path: <results>/runs/table2.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/table2.csv
#       markdown_path: <results>/table2.md
#       metrics_path: <results>/metrics/table2
#       figure_path: <results>/table2.svg
#     shows: markdown_path
# ---

# %% [markdown]
# # Table 2: methods compared by memory footprint
#
# The searches were constrained by memory: weights and input activations, in kilobytes of 1000
# bytes. Accuracy is the mean over seeds with the sample standard deviation. Columns named
# "published" hold the paper's values, on CIFAR-100.

# %% tags=["parameters"]
runs_path = "results/runs/table2.csv"
published_path = "config/published.csv"
csv_path = "results/table2.csv"
markdown_path = "results/table2.md"
metrics_path = "results/metrics/table2"
figure_path = "results/table2.svg"

# %%
import pandas as pd
from IPython.display import Markdown

from sbs.plots.exhibits import write_table
from sbs.results.tables import table_of_runs

runs = pd.read_csv(runs_path)
runs[["network", "method", "variant", "seed", "top1", "top5", "bops", "search_seconds"]]

# %%
table = table_of_runs("table2", runs, pd.read_csv(published_path))
table

# %%
text = write_table(
    table,
    "Table 2",
    csv=csv_path,
    markdown=markdown_path,
    metrics=metrics_path,
    figure=figure_path,
    resources=("memory",),
)
Markdown(text)
