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
#     title: Table 8
#     category: Tables
#     caption: |
#       SBS whose gates of weights and of inputs learn in alternate steps (Algorithm 1), or all in
#       every step. Rows at the 3-bit level, which are ours, compare them where the choice of bits
#       matters more: at the cost of 4 bits most policies are nearly equally accurate. Both searches
#       land on the same cost, so the cost is no evidence. Measured at the scale {{ config.scale }};
#       columns named "published" hold the paper's values, on CIFAR-100.
#     inputs:
#       runs_path: <results>/runs/table8.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/table8.csv
#       markdown_path: <results>/table8.md
#       metrics_path: <results>/metrics/table8
#       figure_path: <results>/table8.svg
#     shows: markdown_path
# ---

# %% [markdown]
# # Table 8: gates of weights and inputs in turns, or together
#
# In alternate steps, a threshold gets half as many updates as together. Costs land on the same
# target in both.

# %% tags=["parameters"]
runs_path = "results/runs/table8.csv"
published_path = "config/published.csv"
csv_path = "results/table8.csv"
markdown_path = "results/table8.md"
metrics_path = "results/metrics/table8"
figure_path = "results/table8.svg"

# %%
import pandas as pd
from IPython.display import Markdown

from sbs.plots.exhibits import write_table
from sbs.results.rows import Row
from sbs.results.tables import table_of_runs

ROWS = {
    ("sbs", "default"): Row("sbs_alternating", "SBS, in turns"),
    ("sbs", "joint"): Row("sbs_joint", "SBS, together"),
    ("sbs", "three"): Row("sbs_alternating_three", "SBS, in turns, 3-bit level"),
    ("sbs", "three-joint"): Row("sbs_joint_three", "SBS, together, 3-bit level"),
}
runs = pd.read_csv(runs_path)
runs[["network", "method", "variant", "seed", "top1", "top5", "bops", "search_seconds"]]

# %%
table = table_of_runs("table8", runs, pd.read_csv(published_path), ROWS)
table

# %%
text = write_table(
    table,
    "Table 8",
    csv=csv_path,
    markdown=markdown_path,
    metrics=metrics_path,
    figure=figure_path,
)
Markdown(text)
