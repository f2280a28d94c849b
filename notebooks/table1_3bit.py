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
#     title: Table 1 at the 3-bit level
#     category: Tables
#     caption: |
#       Methods and controls compared where bits are scarce: the accuracy of networks that need at
#       most the bit operations (BOPs) of one with 3 bits everywhere. The paper has no such table.
#       Controls: random bits at the same cost, bits by measured sensitivity, searches whose gates
#       feel only the cost, one bitwidth for all weights and another for all inputs, and full
#       precision, fine-tuned as long. DNAS has one path a bitwidth, the same for weights and
#       inputs. DQ is given the memory of 3 bits, not the bit operations. Measured at the scale
#       {{ config.scale }}. The picture below the table shows the same numbers.
#     inputs:
#       runs_path: <results>/runs/table1_3bit.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/table1_3bit.csv
#       markdown_path: <results>/table1_3bit.md
#       metrics_path: <results>/metrics/table1_3bit
#       figure_path: <results>/table1_3bit.svg
#     shows: markdown_path
# ---

# %% [markdown]
# # Table 1 at the 3-bit level: methods and controls where bits are scarce
#
# Accuracy is the mean over seeds with the sample standard deviation. The paper has no such table.

# %% tags=["parameters"]
runs_path = "results/runs/table1_3bit.csv"
published_path = "config/published.csv"
csv_path = "results/table1_3bit.csv"
markdown_path = "results/table1_3bit.md"
metrics_path = "results/metrics/table1_3bit"
figure_path = "results/table1_3bit.svg"

# %%
import pandas as pd
from IPython.display import Markdown

from sbs.plots.exhibits import write_table
from sbs.results.tables import table_of_runs

runs = pd.read_csv(runs_path)
runs[["network", "method", "variant", "seed", "top1", "top5", "bops", "search_seconds"]]

# %%
table = table_of_runs("table1_3bit", runs, pd.read_csv(published_path))
table

# %%
text = write_table(
    table,
    "Table 1 at the 3-bit level",
    csv=csv_path,
    markdown=markdown_path,
    metrics=metrics_path,
    figure=figure_path,
)
Markdown(text)
