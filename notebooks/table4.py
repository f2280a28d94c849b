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
#     title: Table 4
#     category: Tables
#     caption: |
#       Methods compared on ImageNet: ResNet-18 at the cost of 4 bits, MobileNetV2 at about 0.7 of
#       the cost of 8 bits; at scales with small images ResNet-20. Below stand the methods that the
#       paper quotes from their own papers, which are not run here. Measured at the scale
#       {{ config.scale }}; columns named "published" hold the paper's values.
#     inputs:
#       runs_path: <results>/runs/table4.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/table4.csv
#       markdown_path: <results>/table4.md
#       metrics_path: <results>/metrics/table4
#       figure_path: <results>/table4.svg
#     shows: markdown_path
# ---

# %% [markdown]
# # Table 4: methods on ImageNet
#
# The paper quotes further methods from other papers. They are not run here; their rows stand below
# the table.

# %% tags=["parameters"]
runs_path = "results/runs/table4.csv"
published_path = "config/published.csv"
csv_path = "results/table4.csv"
markdown_path = "results/table4.md"
metrics_path = "results/metrics/table4"
figure_path = "results/table4.svg"

# %%
import pandas as pd
from IPython.display import Markdown

from sbs.plots.exhibits import write_table
from sbs.results.not_run import not_run
from sbs.results.published import quoted
from sbs.results.tables import table_of_runs

runs = pd.read_csv(runs_path)
runs[["network", "method", "variant", "seed", "top1", "top5", "bops", "search_seconds"]]

# %%
published = pd.read_csv(published_path)
table = table_of_runs("table4", runs, published)
table

# %%
quotes = f"\n## Quoted by the paper\n\n{quoted(published, 'table4').to_markdown(index=False)}\n"
text = write_table(
    table,
    "Table 4",
    csv=csv_path,
    markdown=markdown_path,
    metrics=metrics_path,
    figure=figure_path,
    below=not_run(table, published, "table4") + quotes,
)
Markdown(text)
