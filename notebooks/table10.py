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
#     title: Table 10
#     category: Tables
#     caption: |
#       SBS with the candidate bitwidths 3, 6 and 12, beside 6 bits everywhere, at the same cost.
#       Both train in single precision: the numbers of bf16 are too coarse for a grid of 12 bits.
#       Measured at the scale {{ config.scale }}; columns named "published" hold the paper's values,
#       on CIFAR-100.
#     inputs:
#       runs_path: <results>/runs/table10.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/table10.csv
#       markdown_path: <results>/table10.md
#       metrics_path: <results>/metrics/table10
#       figure_path: <results>/table10.svg
#     shows: markdown_path
# ---

# %% [markdown]
# # Table 10: candidate bitwidths 3, 6 and 12
#
# Any bitwidths will do of which each is a multiple of the one before (Theorem 1). At 6 bits little
# accuracy is lost, so there is little to gain.

# %% tags=["parameters"]
runs_path = "results/runs/table10.csv"
published_path = "config/published.csv"
csv_path = "results/table10.csv"
markdown_path = "results/table10.md"
metrics_path = "results/metrics/table10"
figure_path = "results/table10.svg"

# %%
import pandas as pd
from IPython.display import Markdown

from sbs.plots.exhibits import write_table
from sbs.results.rows import Row
from sbs.results.tables import table_of_runs

ROWS = {
    ("sbs", "three-six-twelve"): Row("sbs_3_6_12", "SBS, bits 3, 6, 12"),
}
runs = pd.read_csv(runs_path)
runs[["network", "method", "variant", "seed", "top1", "top5", "bops", "search_seconds"]]

# %%
table = table_of_runs("table10", runs, pd.read_csv(published_path), ROWS)
table

# %%
text = write_table(
    table,
    "Table 10",
    csv=csv_path,
    markdown=markdown_path,
    metrics=metrics_path,
    figure=figure_path,
)
Markdown(text)
