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
#     title: Table 5
#     category: Tables
#     caption: |
#       What bit sharing saves: the same search with one set of weights for all bitwidths, and with
#       one path with its own weights for each bitwidth. Measured at the scale {{ config.scale }};
#       columns named "published" hold the paper's values, on CIFAR-100. The picture below the table
#       shows the same numbers.
#     inputs:
#       runs_path: <results>/runs/table5.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/table5.csv
#       markdown_path: <results>/table5.md
#       metrics_path: <results>/metrics/table5
#       figure_path: <results>/table5.svg
#     shows: markdown_path
# ---

# %% [markdown]
# # Table 5: the search with and without bit sharing
#
# Without bit sharing, every bitwidth of a layer is a path with its own weights. Time and memory are
# those of one search. Ratios are to the search with bit sharing on the same network, measured and
# published (on CIFAR-100, with a TITAN Xp).

# %% tags=["parameters"]
runs_path = "results/runs/table5.csv"
published_path = "config/published.csv"
csv_path = "results/table5.csv"
markdown_path = "results/table5.md"
metrics_path = "results/metrics/table5"
figure_path = "results/table5.svg"

# %%
import pandas as pd
from IPython.display import Markdown

from sbs.plots.exhibits import write_table
from sbs.results.tables import table5

runs = pd.read_csv(runs_path)
runs[["network", "method", "variant", "seed", "top1", "top5", "bops", "search_seconds"]]

# %%
table = table5(runs, pd.read_csv(published_path))
table

# %%
text = write_table(
    table,
    "Table 5",
    csv=csv_path,
    markdown=markdown_path,
    metrics=metrics_path,
    figure=figure_path,
    amounts=("search_time", "search_memory"),
)
Markdown(text)
