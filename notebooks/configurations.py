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
#     title: Configurations
#     category: Figures
#     caption: |
#       What the searches chose for every layer, for all seeds (the paper's Figures 6, 7 and II to
#       VI): bitwidths of weights and inputs, and the share of filters that was pruned. The more the
#       seeds agree, the more stable is a search. A layer without a dot cannot lose filters. Shaded
#       layers output fewer pixels than they read; in a ResNet, those with a 1x1 kernel are
#       shortcuts. Searches with gates leave the first and the last layer at 8 bits. Measured at the
#       scale {{ config.scale }}.
#     inputs:
#       policy_paths: ["<results>/search/{runs}/policy.json"]
#       record_paths: ["<results>/search/{runs}/search.json"]
#     outputs:
#       csv_path: <results>/configurations.csv
#       figure_path: <results>/configurations.svg
#     shows: figure_path
# ---

# %% [markdown]
# # Searched configurations
#
# The policy of every seed, layer by layer. `pruned` is the share of a layer's filters that was
# removed; it is empty where a layer cannot lose filters.

# %% tags=["parameters"]
policy_paths = ""
record_paths = ""
csv_path = "results/configurations.csv"
figure_path = "results/configurations.svg"

# %%
from pathlib import Path

from sbs.plots.configurations import draw_configurations
from sbs.plots.trajectory import save_svg
from sbs.policy import Policy
from sbs.provenance.records import RunRecord
from sbs.results.configurations import configurations

records = [RunRecord.load(Path(path)) for path in record_paths.split()]
policies = [Policy.load(Path(path)) for path in policy_paths.split()]
table = configurations(records, policies)
table.to_csv(csv_path, index=False)
table

# %%
figure = draw_configurations(table)
save_svg(figure, figure_path)
