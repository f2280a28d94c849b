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
#     title: Table 12
#     category: Tables
#     caption: |
#       Networks trained from random weights alone: full precision, 4 bits everywhere, and SBS,
#       which searches from random weights and trains on. Search and training follow the schedules
#       of search and pretrain of the scale; SBS trains longer by its search. Measured at the scale
#       {{ config.scale }}; columns named "published" hold the paper's values, on CIFAR-100.
#     inputs:
#       runs_path: <results>/runs/table12.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/table12.csv
#       markdown_path: <results>/table12.md
#       metrics_path: <results>/metrics/table12
#       figure_path: <results>/table12.svg
#     shows: markdown_path
# ---

# %% [markdown]
# # Table 12: without any pretrained network
#
# No run of this table reads a pretrained network. The published full-precision row is the paper's
# pretrained network, trained for 200 epochs.

# %% tags=["parameters"]
runs_path = "results/runs/table12.csv"
published_path = "config/published.csv"
csv_path = "results/table12.csv"
markdown_path = "results/table12.md"
metrics_path = "results/metrics/table12"
figure_path = "results/table12.svg"

# %%
import pandas as pd
from IPython.display import Markdown

from sbs.plots.exhibits import write_table
from sbs.results.rows import Row
from sbs.results.tables import table_of_runs

ROWS = {
    ("fixed32", "scratch"): Row("fp", "Full-precision, from scratch"),
    ("fixed4", "scratch"): Row("fixed4_scratch", "4-bit precision, from scratch"),
    ("sbs", "scratch"): Row("sbs_scratch", "SBS, from scratch"),
}
runs = pd.read_csv(runs_path)
runs[["network", "method", "variant", "seed", "top1", "top5", "bops", "search_seconds"]]

# %%
table = table_of_runs("table12", runs, pd.read_csv(published_path), ROWS)
table

# %%
text = write_table(
    table,
    "Table 12",
    csv=csv_path,
    markdown=markdown_path,
    metrics=metrics_path,
    figure=figure_path,
)
Markdown(text)
