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
#     title: Neighbouring targets
#     category: Tables
#     caption: |
#       Whether a search with a smaller target closes what one with a larger target closes: gates of
#       bits, and filters. In percent, means over seeds: `closed`, how many the dearer policies
#       closed; `nested`, how many of these the cheaper ones closed too; `chance`, how many they
#       would have closed by chance: as many gates of each bitwidth and filters of each layer as
#       they closed, but which ones at random. Measured at the scale {{ config.scale }}.
#     inputs:
#       policy_paths: ["<results>/search/{runs}/policy.json"]
#       record_paths: ["<results>/search/{runs}/search.json"]
#     outputs:
#       csv_path: <results>/nesting.csv
#       markdown_path: <results>/nesting.md
#     shows: markdown_path
# ---

# %% [markdown]
# # Policies of neighbouring targets

# %% tags=["parameters"]
policy_paths = ""
record_paths = ""
csv_path = "results/nesting.csv"
markdown_path = "results/nesting.md"

# %%
from pathlib import Path

from IPython.display import Markdown

from sbs.policy import Policy
from sbs.provenance.records import RunRecord
from sbs.results.nesting import nesting

records = [RunRecord.load(Path(path)) for path in record_paths.split()]
policies = [Policy.load(Path(path)) for path in policy_paths.split()]
table = nesting(records, policies)
table.to_csv(csv_path, index=False)

# %%
text = table.to_markdown(index=False, floatfmt=".1f") + "\n"
Path(markdown_path).write_text(text)
Markdown(text)
