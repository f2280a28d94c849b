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
#     title: Table 11
#     category: Tables
#     caption: |
#       SBS with the bitwidths 3, 6 and 12 against 6 bits everywhere, at the cost of 6 bits: Table
#       10 on ImageNet. Measured at the scale {{ config.scale }}; columns named "published" hold the
#       paper's values.
#     inputs:
#       runs_path: <results>/runs/table11.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/table11.csv
#       markdown_path: <results>/table11.md
#       metrics_path: <results>/metrics/table11
#       figure_path: <results>/table11.svg
#     shows: markdown_path
# ---

# %% [markdown]
# # Table 11: bitwidths that are no powers of two
#
# Grids of 12 bits need single precision, so all of these runs have it.

# %% tags=["parameters"]
runs_path = "results/runs/table11.csv"
published_path = "config/published.csv"
csv_path = "results/table11.csv"
markdown_path = "results/table11.md"
metrics_path = "results/metrics/table11"
figure_path = "results/table11.svg"

# %%
import pandas as pd
from IPython.display import Markdown

from sbs.plots.exhibits import write_table
from sbs.results.not_run import not_run
from sbs.results.rows import Row
from sbs.results.tables import table_of_runs

ROWS = {
    ("sbs", "three-six-twelve"): Row("sbs_3_6_12", "SBS, bits 3, 6, 12"),
}
runs = pd.read_csv(runs_path)
runs[["network", "method", "variant", "seed", "top1", "top5", "bops", "search_seconds"]]

# %%
published = pd.read_csv(published_path)
table = table_of_runs("table11", runs, published, ROWS)
table

# %%
text = write_table(
    table,
    "Table 11",
    csv=csv_path,
    markdown=markdown_path,
    metrics=metrics_path,
    figure=figure_path,
    below=not_run(table, published, "table11", ROWS),
)
Markdown(text)
