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
#     title: Table 3
#     category: Tables
#     caption: |
#       Fixed bits, SBS-Q and SBS at the cost of 8 and of 4 bits: the paper's ResNet-18 and
#       ResNet-50 on ImageNet, and ResNet-20 at scales with small images. Searches land on their
#       targets, so their costs are no evidence. Measured at the scale {{ config.scale }}; columns
#       named "published" hold the paper's values. The paper's ResNet-50 at full precision is better
#       than torchvision's weights, from which every run here starts.
#     inputs:
#       runs_path: <results>/runs/table3.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/table3.csv
#       markdown_path: <results>/table3.md
#       metrics_path: <results>/metrics/table3
#       figure_path: <results>/table3.svg
#     shows: markdown_path
# ---

# %% [markdown]
# # Table 3: the cost of 8 and of 4 bits
#
# Each search lands on the cost of a network with the same bits everywhere.

# %% tags=["parameters"]
runs_path = "results/runs/table3.csv"
published_path = "config/published.csv"
csv_path = "results/table3.csv"
markdown_path = "results/table3.md"
metrics_path = "results/metrics/table3"
figure_path = "results/table3.svg"

# %%
import pandas as pd
from IPython.display import Markdown

from sbs.plots.exhibits import write_table
from sbs.results.not_run import not_run
from sbs.results.rows import Row
from sbs.results.tables import table_of_runs

ROWS = {
    ("sbs_q", "eight"): Row("sbs_q_8bit_level", "SBS-Q, 8-bit level"),
    ("sbs", "eight"): Row("sbs_8bit_level", "SBS, 8-bit level"),
}
runs = pd.read_csv(runs_path)
runs[["network", "method", "variant", "seed", "top1", "top5", "bops", "search_seconds"]]

# %%
published = pd.read_csv(published_path)
table = table_of_runs("table3", runs, published, ROWS)
table

# %%
text = write_table(
    table,
    "Table 3",
    csv=csv_path,
    markdown=markdown_path,
    metrics=metrics_path,
    figure=figure_path,
    below=not_run(table, published, "table3", ROWS),
)
Markdown(text)
