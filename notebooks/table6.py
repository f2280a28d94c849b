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
#     title: Table 6
#     category: Tables
#     caption: |
#       SBS constrained by time or by energy on a simulated BitFusion accelerator, against 8 bits
#       everywhere and against random bits that cost as much. Time and energy are of a batch of 16
#       images, and their ratios are to 8 bits everywhere. A search lands on its target, so its cost
#       is no evidence; its accuracy at this cost is. The paper does not say how it simulated, so
#       compare ratios, not milliseconds. Measured at the scale {{ config.scale }}; columns named
#       "published" hold the paper's values, of MobileNetV2 on ImageNet.
#     inputs:
#       runs_path: <results>/runs/table6.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/table6.csv
#       markdown_path: <results>/table6.md
#       metrics_path: <results>/metrics/table6
#       figure_path: <results>/table6.svg
#     shows: markdown_path
# ---

# %% [markdown]
# # Table 6: constrained by time or energy on BitFusion
#
# Every layer is simulated, for a batch of 16 images. The targets are the shares of the cost at 8
# bits that the paper's networks have.

# %% tags=["parameters"]
runs_path = "results/runs/table6.csv"
published_path = "config/published.csv"
csv_path = "results/table6.csv"
markdown_path = "results/table6.md"
metrics_path = "results/metrics/table6"
figure_path = "results/table6.svg"

# %%
import pandas as pd
from IPython.display import Markdown

from sbs.plots.exhibits import write_table
from sbs.results.not_run import not_run
from sbs.results.rows import Row
from sbs.results.tables import table_of_runs

ROWS = {
    ("random", "latency"): Row("random_latency", "random bits, latency"),
    ("random", "energy"): Row("random_energy", "random bits, energy"),
    ("sbs", "latency"): Row("sbs_latency_constrained", "SBS, latency"),
    ("sbs", "energy"): Row("sbs_energy_constrained", "SBS, energy"),
}
COSTS = ("bitfusion-latency", "bitfusion-energy")
runs = pd.read_csv(runs_path)
runs[["network", "method", "variant", "seed", "top1", "top5", "latency_seconds", "energy_joules"]]

# %%
published = pd.read_csv(published_path)
table = table_of_runs("table6", runs, published, ROWS, COSTS)
table

# %%
text = write_table(
    table,
    "Table 6",
    csv=csv_path,
    markdown=markdown_path,
    metrics=metrics_path,
    figure=figure_path,
    below=not_run(table, published, "table6", ROWS),
    resources=COSTS,
)
Markdown(text)
