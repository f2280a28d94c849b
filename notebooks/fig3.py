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
#     title: Figure 3
#     category: Figures
#     caption: |
#       The toy regression of section 3.4 at several learning rates: one path (SBS) against many
#       (DNAS). Above: the loss. Below: the loss minus that of the best quantized weights, which an
#       exhaustive search finds.
#     inputs:
#       curves_path: <results>/theory/toy-curves.csv
#       numbers_path: <results>/theory/toy-numbers.csv
#       limits_path: <results>/theory/toy-limits.csv
#     outputs:
#       csv_path: <results>/fig3.csv
#       figure_path: <results>/fig3.svg
#     shows: figure_path
# ---

# %% [markdown]
# # Figure 3: one path against many on a toy regression
#
# Both schemes of section 3.4 with plain gradient descent. The paper gives no learning rate, so
# several are shown. DNAS is shown with a plain softmax, as in Eq. 15, and with the Gumbel noise of
# its own paper.

# %% tags=["parameters"]
curves_path = "results/theory/toy-curves.csv"
numbers_path = "results/theory/toy-numbers.csv"
limits_path = "results/theory/toy-limits.csv"
csv_path = "results/fig3.csv"
figure_path = "results/fig3.svg"

# %%
import pandas as pd

from sbs.plots.trajectory import save_svg
from sbs.plots.theory import draw_convergence

numbers = pd.read_csv(numbers_path)
columns = ["iterations", "roughness", "final", "excess"]
summary = numbers.groupby(["learning_rate", "scheme"], sort=False)[columns].agg(["mean", "std"])
summary.columns = ["_".join(names) for names in summary.columns]
summary.to_csv(csv_path)
summary

# %% [markdown]
# Excess of the loss over the best weights on the 8-bit grid, after ten times as many iterations:
# for the curve itself, and for the weights that are chosen at the end.

# %%
pd.read_csv(limits_path).groupby("scheme", sort=False).agg(["mean", "max"])

# %%
figure = draw_convergence(pd.read_csv(curves_path), numbers["seed"].nunique())
save_svg(figure, figure_path)
