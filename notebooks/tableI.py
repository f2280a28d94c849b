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
#     title: Table I
#     category: Tables
#     caption: |
#       All methods compared on MobileNetV3 by bit operations (BOPs): the accuracy of networks that
#       cost at most as much as one with 6 bits everywhere. At this cost little accuracy is lost, so
#       the table can show a method that fails, and hardly which one is best. There is no public
#       checkpoint: the network that all start from is pretrained here. At a scale that does so
#       shortly, every row gains most from training on, whatever its bits. Measured at the scale
#       {{ config.scale }}; columns named "published" hold the paper's values, on CIFAR-100.
#     inputs:
#       runs_path: <results>/runs/tableI.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/tableI.csv
#       markdown_path: <results>/tableI.md
#       metrics_path: <results>/metrics/tableI
#       figure_path: <results>/tableI.svg
#     shows: markdown_path
# ---

# %% [markdown]
# # Table I: MobileNetV3
#
# A small network with depthwise convolutions, squeeze-and-excitation and hard-swish. Inputs that
# can be negative are quantized with a sign.

# %% tags=["parameters"]
runs_path = "results/runs/tableI.csv"
published_path = "config/published.csv"
csv_path = "results/tableI.csv"
markdown_path = "results/tableI.md"
metrics_path = "results/metrics/tableI"
figure_path = "results/tableI.svg"

# %%
import pandas as pd
from IPython.display import Markdown

from sbs.plots.exhibits import write_table
from sbs.results.tables import table_of_runs

runs = pd.read_csv(runs_path)
runs[["network", "method", "variant", "seed", "top1", "top5", "bops", "search_seconds"]]

# %%
table = table_of_runs("tableI", runs, pd.read_csv(published_path))
table

# %%
text = write_table(
    table,
    "Table I",
    csv=csv_path,
    markdown=markdown_path,
    metrics=metrics_path,
    figure=figure_path,
)
Markdown(text)
