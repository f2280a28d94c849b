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
#     title: HAQ's rewards
#     category: Figures
#     caption: |
#       One search by HAQ at the scale {{ config.scale }}: the reward of every policy that its agent
#       proposes. If the running mean does not rise above the best random policy of the warm-up, the
#       agent has found nothing at this budget.
#     inputs:
#       record_path: "<results>/search/{run}/search.json"
#     outputs:
#       figure_path: <results>/haq_rewards.svg
#     shows: figure_path
# ---

# %% [markdown]
# # The rewards of HAQ
#
# The reward of every policy that the agent proposes, in one search.

# %% tags=["parameters"]
record_path = "results/search/resnet20/haq/default/seed-0/search.json"
figure_path = "results/haq_rewards.svg"

# %%
from pathlib import Path

from sbs.plots.rewards import reward_curve
from sbs.plots.trajectory import save_svg
from sbs.provenance.records import RunRecord

record = RunRecord.load(Path(record_path))

# %%
figure = reward_curve(record)
save_svg(figure, figure_path)
