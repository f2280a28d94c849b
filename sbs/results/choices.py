"""What a policy chose, in numbers: for the paper's claims about searched configurations.

Section 4.5 and appendix H read these off the pictures of single policies. Here each is a number of
a run, so that seeds can be compared. Each is 0 for a network with the same bits everywhere.
"""

from __future__ import annotations

import pandas as pd
from scipy import stats

from sbs.policy import Policy
from sbs.provenance.records import RunRecord
from sbs.results.configurations import configurations

COLUMNS = ("pointwise_bits", "early_pruning", "pruned_bits")


def choices(search: RunRecord, policy: Policy) -> dict[str, float | None]:
    """The columns :data:`COLUMNS` of a run.

    - ``pointwise_bits``: mean bits of the weights of 1x1 convolutions minus that of the others,
      without the first and the last layer. In ResNets of CIFAR the 1x1 ones are the downsampling
      layers. None if there is only one kind.
    - ``early_pruning``: mean share of pruned filters in the first half of the layers that can lose
      filters, minus that in the second half; in per cent.
    - ``pruned_bits``: over those layers, Spearman's correlation of the pruned share with the bits
      of the weights; 0 if one of them is the same everywhere.

    Args:
        search: record of the search.
        policy: its policy.

    Raises:
        SBSError: the policy does not fit the network of the record.
    """
    layers = configurations([search], [policy])
    inner = layers.iloc[1:-1].groupby(layers["kernel"] == "1x1")["weight_bits"].mean()
    prunable = layers.dropna(subset="pruned")
    half = len(prunable) // 2
    shares = prunable["pruned"]
    early = 100 * (shares.iloc[:half].mean() - shares.iloc[half:].mean())
    return {
        "pointwise_bits": float(inner[True] - inner[False]) if len(inner) == 2 else None,
        "early_pruning": float(early),
        "pruned_bits": _rank_correlation(shares, prunable["weight_bits"]),
    }


def _rank_correlation(first: pd.Series, second: pd.Series) -> float:
    if min(first.nunique(), second.nunique()) < 2:
        return 0.0
    return float(stats.spearmanr(first, second).statistic)
