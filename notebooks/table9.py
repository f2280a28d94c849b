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
#     title: Table 9
#     category: Tables
#     caption: |
#       SBS with pruning groups of B filters. Large groups make the search space small, small ones
#       make it fine. A group size can matter only as far as the search prunes: at the cost of 4
#       bits it prunes little. Rows at the 3-bit level are ours. Measured at the scale {{
#       config.scale }}; columns named "published" hold the paper's values, on CIFAR-100.
#     inputs:
#       runs_path: <results>/runs/table9.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/table9.csv
#       markdown_path: <results>/table9.md
#       metrics_path: <results>/metrics/table9
#       figure_path: <results>/table9.svg
#     shows: markdown_path
# ---

# %% [markdown]
# # Table 9: the number of filters in a pruning group
#
# B is the number of consecutive filters that are kept or removed together.

# %% tags=["parameters"]
runs_path = "results/runs/table9.csv"
published_path = "config/published.csv"
csv_path = "results/table9.csv"
markdown_path = "results/table9.md"
metrics_path = "results/metrics/table9"
figure_path = "results/table9.svg"

# %%
import pandas as pd
from IPython.display import Markdown

from sbs.plots.exhibits import write_table
from sbs.results.rows import Row
from sbs.results.tables import table_of_runs

ROWS = {
    ("sbs", "group-1"): Row("sbs_group1", "SBS, B = 1"),
    ("sbs", "group-2"): Row("sbs_group2", "SBS, B = 2"),
    ("sbs", "default"): Row("sbs_group4", "SBS, B = 4"),
    ("sbs", "group-8"): Row("sbs_group8", "SBS, B = 8"),
    ("sbs", "three-group-1"): Row("sbs_group1_three", "SBS, B = 1, 3-bit level"),
    ("sbs", "three-group-2"): Row("sbs_group2_three", "SBS, B = 2, 3-bit level"),
    ("sbs", "three"): Row("sbs_group4_three", "SBS, B = 4, 3-bit level"),
    ("sbs", "three-group-8"): Row("sbs_group8_three", "SBS, B = 8, 3-bit level"),
}
runs = pd.read_csv(runs_path)
runs[["network", "method", "variant", "seed", "top1", "top5", "bops", "search_seconds"]]

# %%
table = table_of_runs("table9", runs, pd.read_csv(published_path), ROWS)
table

# %%
text = write_table(
    table,
    "Table 9",
    csv=csv_path,
    markdown=markdown_path,
    metrics=metrics_path,
    figure=figure_path,
)
Markdown(text)
