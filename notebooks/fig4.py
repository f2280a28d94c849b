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
#     title: Figure 4
#     category: Figures
#     caption: |
#       Accuracy of ResNet-56 by bit operations and by memory, for three targets per method, with
#       error bars over seeds. Top: measured at the scale {{ config.scale }}. Bottom: the points
#       that the paper prints (CIFAR-100).
#     inputs:
#       runs_path: <results>/runs/fig4.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/fig4.csv
#       figure_path: <results>/fig4.svg
#     shows: figure_path
# ---

# %% [markdown]
# # Figure 4: accuracy against bit operations and against memory
#
# ResNet-56, several targets per method. The paper prints no numbers for its figure. So its points
# here are those of Tables 1 and 2. Dotted lines are costs from its text, where it says that SBS and
# the 3-bit network are comparably accurate.

# %% tags=["parameters"]
runs_path = "results/runs/fig4.csv"
published_path = "config/published.csv"
csv_path = "results/fig4.csv"
figure_path = "results/fig4.svg"

# %%
import pandas as pd

from sbs.plots.tradeoff import draw, panels_of_figure4, points_of
from sbs.plots.trajectory import save_svg
from sbs.results.published import published_dataset

runs, published = pd.read_csv(runs_path), pd.read_csv(published_path)
panels = panels_of_figure4(runs)
paper = panels
points = points_of(runs, published, panels, paper)
points.to_csv(csv_path, index=False)
points

# %%
measured_on = runs["dataset"].iloc[0]
figure = draw(points, panels, paper, measured_on, published_dataset(published, "table1"))
save_svg(figure, figure_path)
