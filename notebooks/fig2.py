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
#     title: Figure 2
#     category: Figures
#     caption: |
#       Corollary 1 on random vectors of 100 elements: how much the normalised quantization error
#       changes with the next bitwidth, and the bound that the paper proves for this change.
#     inputs:
#       bound_path: <results>/theory/error-bound.csv
#     outputs:
#       csv_path: <results>/fig2.csv
#       figure_path: <results>/fig2.svg
#     shows: figure_path
# ---

# %% [markdown]
# # Figure 2: the quantization error changes less at every bitwidth
#
# Corollary 1 on random z in [0, 1]^100. The change at 16 bits is the change from 16 to 32.

# %% tags=["parameters"]
bound_path = "results/theory/error-bound.csv"
csv_path = "results/fig2.csv"
figure_path = "results/fig2.svg"

# %%
import pandas as pd

from sbs.plots.trajectory import save_svg
from sbs.plots.theory import draw_error_bound

table = pd.read_csv(bound_path)
table["share_of_bound"] = table["change"] / table["bound"]
summary = table.groupby("bits")[["change", "bound", "share_of_bound"]].agg(["mean", "std", "max"])
summary.columns = ["_".join(names) for names in summary.columns]
summary.to_csv(csv_path)
summary

# %%
figure = draw_error_bound(table)
save_svg(figure, figure_path)
