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
#     title: Decisions and measured sensitivity
#     category: Figures
#     caption: |
#       Does a search keep the bits of the tensors that need them? For every tensor (a layer's
#       weights or its input): the loss that the second-lowest bitwidth saves there, measured one
#       tensor at a time on training images that were set aside, and how often the search had that
#       gate open when it chose. Means over seeds; ρ is Spearman's rank correlation with its 95 %
#       interval, which takes the tensors as independent. Measured at the scale {{ config.scale }}.
#     inputs:
#       record_paths: ["<results>/search/{runs}/search.json"]
#     outputs:
#       csv_path: <results>/sensitivity.csv
#       correlations_path: <results>/sensitivity_correlations.csv
#       metrics_path: <results>/metrics/sensitivity.json
#       figure_path: <results>/sensitivity.svg
#     shows: figure_path
# ---

# %% [markdown]
# # Decisions of a search beside measured sensitivity
#
# The theory says: a gate stays open if what it saves exceeds λ times its cost. So a search that
# follows the loss has a positive rank correlation with the loss saved per cost. A search by cost
# alone has none with the loss saved.

# %% tags=["parameters"]
record_paths = ""
csv_path = "results/sensitivity.csv"
correlations_path = "results/sensitivity_correlations.csv"
metrics_path = "results/metrics/sensitivity.json"
figure_path = "results/sensitivity.svg"

# %%
from pathlib import Path

from sbs.plots.sensitivity import open_by_benefit
from sbs.plots.trajectory import save_svg
from sbs.provenance.records import RunRecord
from sbs.results.metrics import write_correlations
from sbs.results.sensitivity import beside, rank_correlations

table = beside([RunRecord.load(Path(path)) for path in record_paths.split()])
table.to_csv(csv_path, index=False)
table

# %%
correlations = rank_correlations(table)
correlations.to_csv(correlations_path, index=False)
write_correlations(correlations, Path(metrics_path))
correlations

# %%
figure = open_by_benefit(table, correlations)
save_svg(figure, figure_path)
