"""Which differences are larger than the noise over seeds?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from string import ascii_lowercase

import pandas as pd
from scipy import stats

LEVEL = 0.05
"""Two samples do not differ if the p-value of Welch's two-sided t-test is at least this."""

CONFIDENCE = 1 - LEVEL

Group = frozenset[str]


@dataclass(frozen=True)
class Interval:
    """An effect with its confidence interval; the ends are NaN if there is no interval."""

    effect: float
    low: float
    high: float


def interval(left: pd.Series, right: pd.Series, *, ratio: bool) -> Interval:
    """Difference of means, or log ratio of geometric means, with Welch's confidence interval.

    If all values of a side are equal, such as the cost at a fixed bitwidth, it has no variance.

    Args:
        left: values of one side, one per seed.
        right: values of the other side, one per seed.
        ratio: compare logarithms.
    """
    if ratio:
        left, right = left.map(math.log), right.map(math.log)
    effect = float(left.mean() - right.mean())
    sizes = len(left), len(right)
    if min(sizes) < 2:
        return Interval(effect, math.nan, math.nan)
    parts = [float(side.var(ddof=1)) / len(side) for side in (left, right)]
    error = math.sqrt(sum(parts))
    if error == 0:
        return Interval(effect, effect, effect)
    freedom = sum(parts) ** 2 / sum(
        part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True)
    )
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return Interval(effect, effect - reach, effect + reach)


def tie(first: pd.Series, second: pd.Series) -> bool | None:
    """Whether two samples differ by no more than their noise; None if one has a single value.

    Args:
        first: values of one method, one per seed.
        second: values of the other method, one per seed.
    """
    if min(len(first), len(second)) < 2:
        return None
    if first.std() == second.std() == 0:  # without any noise the test is undefined
        return bool(first.iloc[0] == second.iloc[0])
    moments = [(sample.mean(), sample.std(ddof=1), len(sample)) for sample in (first, second)]
    test = stats.ttest_ind_from_stats(*moments[0], *moments[1], equal_var=False)
    return bool(test.pvalue >= LEVEL)


def letters(samples: Mapping[str, pd.Series]) -> dict[str, str]:
    """Compact letter display: two samples share a letter if and only if they :func:`tie`.

    Ties are not transitive, so a sample can have several letters. The highest mean has an ``a``.

    Args:
        samples: values by name, one per seed.

    Returns:
        The letters of each name in order, separated by spaces; empty for a single value, which is
        not compared.
    """
    means = {name: sample.mean() for name, sample in samples.items() if len(sample) > 1}
    compared = sorted(means, key=lambda name: -means[name])
    tied = {pair for pair in combinations(compared, 2) if tie(*(samples[name] for name in pair))}
    position = {name: number for number, name in enumerate(compared)}
    groups = _without_repetition(_largest_groups(compared, tied))
    groups.sort(key=lambda group: sorted(position[name] for name in group))
    named = list(zip(map(_letter, range(len(groups))), groups, strict=True))
    return {name: " ".join(mark for mark, group in named if name in group) for name in samples}


def _largest_groups(names: Sequence[str], tied: set[tuple[str, str]]) -> list[Group]:
    """All maximal sets of names in which every pair ties (Bron, Kerbosch 1973)."""
    neighbours = {
        name: {b if name == a else a for a, b in tied if name in (a, b)} for name in names
    }

    def grow(group: set[str], candidates: set[str], seen: set[str]) -> Iterator[Group]:
        if group and not candidates and not seen:
            yield frozenset(group)
        for name in sorted(candidates):
            near = neighbours[name]
            yield from grow(group | {name}, candidates & near, seen & near)
            candidates, seen = candidates - {name}, seen | {name}

    return list(grow(set(), set(names), set()))


def _without_repetition(groups: list[Group]) -> list[Group]:
    """Remove groups in which every pair also shares another group: their letters add nothing."""
    for group in sorted(groups, key=lambda group: (len(group), sorted(group))):
        others = [other for other in groups if other != group]
        pairs = list(combinations(group, 2))
        if pairs and all(any(other.issuperset(pair) for other in others) for pair in pairs):
            groups = others
    return groups


def _letter(number: int) -> str:
    """``a`` to ``z``, then ``aa``, ``ab`` and so on."""
    rest, last = divmod(number, len(ascii_lowercase))
    return (_letter(rest - 1) if rest else "") + ascii_lowercase[last]
