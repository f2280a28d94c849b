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
#     title: What the paper claims
#     category: Claims
#     caption: |
#       Every claim of the paper that runs or calculations can test, beside what was measured at the
#       scale {{ config.scale }}. Published and measured values are effects: the difference in
#       points for accuracies, the ratio of the first value to the second for costs. The intervals
#       are 95 % t-intervals over seeds, seed by seed where both sides have the same seeds. The
#       p-values of all claims about one table or figure are corrected together, by Holm's method.
#       A claim holds if its corrected p-value is below 0.05 and the effect is on its side, and
#       fails if it is on the other side. Otherwise, or with a single seed on a side, it is too
#       close to call: the smallest detectable effect is what these runs would have found in four
#       of five repetitions, after the strictest step of the correction. A cost that both sides were
#       given, by a target or by fixed bits, is set by design and no evidence. Full precision is the
#       network that all runs start from; a single run of it counts as exact. Search memory is that
#       of the whole process; for small images most of it is PyTorch itself. Search times are also
#       compared after division by the share of their authors' search that each method gets at this
#       scale, and the verdict must be the same. Few seeds say little: with three, an interval is
#       2.5 standard deviations of their differences to each side.
#       {% if config.data.dataset != "cifar100" %}
#       These runs are on {{ config.data.dataset }}: their verdicts say little about the paper's
#       datasets.
#       {% endif %}
#     inputs:
#       claims_path: config/claims.yaml
#       runs_path: <results>/runs/all.csv
#       theory_path: <results>/theory.csv
#       published_path: config/published.csv
#     outputs:
#       csv_path: <results>/claims.csv
#       markdown_path: <results>/claims.md
#       metrics_path: <results>/metrics/claims.json
#     shows: csv_path
# ---

# %% [markdown]
# # The paper's claims, judged
#
# Accuracies are compared by their difference in points, costs by their ratio, left over right, over
# seeds, by a t-test; seed by seed where both sides have the same seeds. The p-values of all claims
# about one table or figure are corrected together, by Holm's method. A claim holds if its corrected
# p-value is below 0.05 and the effect is on its side, and fails if it is on the other side.
# Otherwise, or if a side has a single seed, it is too close to call; the smallest detectable effect
# says how close. A cost that both sides were given is set by design. A claim without runs is not
# judged.

# %% tags=["parameters"]
claims_path = "config/claims.yaml"
runs_path = "results/runs/all.csv"
theory_path = "results/theory.csv"
published_path = "config/published.csv"
csv_path = "results/claims.csv"
markdown_path = "results/claims.md"
metrics_path = "results/metrics/claims.json"

# %%
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from sbs.results.claims import load_claims
from sbs.results.metrics import write_score
from sbs.results.verdict_rendering import rendering
from sbs.results.verdicts import judge, score

runs = pd.read_csv(runs_path)
verdicts = judge(
    load_claims(Path(claims_path)), runs, pd.read_csv(theory_path), pd.read_csv(published_path)
)
verdicts.to_csv(csv_path, index=False)
write_score(score(verdicts), Path(metrics_path))

# %%
text = rendering(verdicts, runs["scale"].iloc[0], runs["dataset"].iloc[0])
Path(markdown_path).write_text(text)
Markdown(text)
