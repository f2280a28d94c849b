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
#     title: Statements
#     category: Theory
#     caption: |
#       The paper's statements, each checked as its column says: the number of cases, the number of
#       failures, and the worst margin. If a statement says that something breaks Theorem 1, its
#       failures confirm it.
#     inputs:
#       statements_path: <results>/theory/statements.csv
#       numbers_path: <results>/theory/toy-numbers.csv
#       limits_path: <results>/theory/toy-limits.csv
#     outputs:
#       csv_path: <results>/theory.csv
#       markdown_path: <results>/theory.md
#     shows: markdown_path
# ---

# %% [markdown]
# # The paper's statements, checked
#
# `docs/theory.md` names the code of each check and its result. Margins are the worst cases.

# %% tags=["parameters"]
statements_path = "results/theory/statements.csv"
numbers_path = "results/theory/toy-numbers.csv"
limits_path = "results/theory/toy-limits.csv"
csv_path = "results/theory.csv"
markdown_path = "results/theory.md"

# %%
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from sbs.theory.convergence import claims

measured = claims(pd.read_csv(numbers_path), pd.read_csv(limits_path))
table = pd.concat([pd.read_csv(statements_path), measured], ignore_index=True)
table.to_csv(csv_path, index=False)
Path(markdown_path).write_text("# Theory\n\n" + table.to_markdown(index=False) + "\n")
Markdown(table.to_markdown(index=False))
