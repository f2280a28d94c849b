"""Which differences between methods are larger than the noise over seeds."""

from __future__ import annotations

import pandas as pd
from scipy import stats

LEVEL = 0.05
"""Two methods tie if Welch's two-sided t-test gives at least this p-value."""


def tie(first: pd.Series, second: pd.Series) -> bool | None:
    """Whether two samples over seeds differ by no more than their noise; None if one is a single.

    Args:
        first: values of one method, a seed each.
        second: values of the other.
    """
    if min(len(first), len(second)) < 2:
        return None
    if first.std() == second.std() == 0:  # no noise at all, which the test cannot judge
        return bool(first.iloc[0] == second.iloc[0])
    moments = [(sample.mean(), sample.std(ddof=1), len(sample)) for sample in (first, second)]
    test = stats.ttest_ind_from_stats(*moments[0], *moments[1], equal_var=False)
    return bool(test.pvalue >= LEVEL)


def ties(runs: pd.DataFrame, metric: str) -> dict[str, list[str]]:
    """For every method those others that it ties with.

    Args:
        runs: of one network, a row a method and seed.
        metric: column that is compared.
    """
    samples = {str(method): group[metric] for method, group in runs.groupby("method", sort=False)}
    return {
        method: [other for other in samples if other != method and tie(sample, samples[other])]
        for method, sample in samples.items()
    }
