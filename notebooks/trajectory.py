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
#     title: One search
#     category: Figures
#     caption: |
#       One SBS search at the scale {{ config.scale }}: the cost follows its set-point to the
#       target, while layers lose bits and filters.
#     inputs:
#       record_path: "<results>/search/{run}/search.json"
#     outputs:
#       figure_path: <results>/trajectory.svg
#     shows: figure_path
# ---

# %% [markdown]
# # The course of a search
#
# One SBS search: cost and λ; then bitwidths and kept filters of every layer, by iteration.

# %% tags=["parameters"]
record_path = "results/search/resnet20/sbs/default/seed-0/search.json"
figure_path = "results/trajectory.svg"

# %%
from pathlib import Path

from sbs.plots.trajectory import save_svg, search_trajectory
from sbs.provenance.records import RunRecord

record = RunRecord.load(Path(record_path))

# %%
figure = search_trajectory(record)
save_svg(figure, figure_path)
