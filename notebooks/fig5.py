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
#     title: Figure 5
#     category: Figures
#     caption: |
#       Accuracy by bit operations for several targets: SBS-Q, which chooses bits, and SBS, which
#       may prune besides. The paper has ResNet-18 and ResNet-50 on ImageNet; at scales with small
#       images ResNet-20 and ResNet-56. Top: measured at the scale {{ config.scale }}. Bottom: the
#       points that the paper prints (ImageNet).
#     inputs:
#       runs_path: <results>/runs/fig5.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/fig5.csv
#       figure_path: <results>/fig5.svg
#     shows: figure_path
# ---

# %% [markdown]
# # Figure 5: accuracy against bit operations
#
# SBS-Q and SBS, several targets. The paper prints no numbers for its figure. So its points here are
# those of Table 3.

# %% tags=["parameters"]
runs_path = "results/runs/fig5.csv"
published_path = "config/published.csv"
csv_path = "results/fig5.csv"
figure_path = "results/fig5.svg"

# %%
import pandas as pd

from sbs.plots.tradeoff import draw, panels_of_figure5, points_of
from sbs.plots.trajectory import save_svg
from sbs.results.published import published_dataset

runs, published = pd.read_csv(runs_path), pd.read_csv(published_path)
panels = panels_of_figure5(runs)
paper = panels_of_figure5(published[published["table"] == "table3"])
points = points_of(runs, published, panels, paper)
points.to_csv(csv_path, index=False)
points

# %%
measured_on = runs["dataset"].iloc[0]
figure = draw(points, panels, paper, measured_on, published_dataset(published, "table3"))
save_svg(figure, figure_path)
