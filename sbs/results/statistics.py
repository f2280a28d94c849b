"""Which differences are larger than the noise over seeds?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from string import ascii_lowercase

import pandas as pd
from scipy import optimize, stats

LEVEL = 0.05
"""Two samples do not differ if the p-value of Welch's two-sided t-test is at least this."""

CONFIDENCE = 1 - LEVEL

NO_NOISE = 1e-12
"""A standard error below this share of the effect is rounding."""

POWER = 0.8
"""Probability with which the smallest detectable difference would have been found."""

Group = frozenset[str]


@dataclass(frozen=True)
class Comparison:
    """An effect with what the t-test says of it; all but the effect are NaN without repetitions.

    Attributes:
        effect: difference of means, or of mean logarithms.
        error: standard error of the effect; 0 if no side has any noise.
        freedom: degrees of freedom; NaN without noise.
        paired: whether the two sides were compared seed by seed.
    """

    effect: float
    error: float
    freedom: float
    paired: bool

    @property
    def known(self) -> bool:
        """Whether there are enough runs for an interval."""
        return not math.isnan(self.error)

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the confidence interval at the level of :data:`CONFIDENCE`."""
        if self.error == 0 or not self.known:
            return self.effect + self.error, self.effect + self.error
        reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, self.freedom)) * self.error
        return self.effect - reach, self.effect + reach

    def p_value(self, bound: float) -> float:
        """Two-sided p-value of the hypothesis that the effect is ``bound``."""
        if not self.known:
            return math.nan
        if self.error == 0:
            return float(self.effect == bound)
        return float(2 * stats.t.sf(abs(self.effect - bound) / self.error, self.freedom))

    def detectable(self, level: float) -> float:
        """The smallest effect that this test would have found with probability :data:`POWER`.

        For the noise that was measured.

        Args:
            level: of the two-sided test.
        """
        if self.error == 0 or not self.known:
            return self.error
        critical = float(stats.t.ppf(1 - level / 2, self.freedom))

        def lacking(shift: float) -> float:
            return POWER - float(stats.nct.sf(critical, self.freedom, shift))

        return float(optimize.brentq(lacking, 0, 10 * critical)) * self.error


def compare(left: pd.Series, right: pd.Series, *, ratio: bool) -> Comparison:
    """Compare two samples by the difference of their means, or of their mean logarithms.

    If both have the same seeds, once each, the differences of a seed are tested, because runs of a
    seed share the pretrained network and the order of the images. Otherwise it is Welch's test. A
    side whose values are all equal, such as the cost at a fixed bitwidth, has no variance.

    Args:
        left: values of one side, by seed.
        right: values of the other side, by seed.
        ratio: compare logarithms.
    """
    if ratio:
        left, right = left.map(math.log), right.map(math.log)
    effect = float(left.mean() - right.mean())
    if min(len(left), len(right)) < 2:
        return Comparison(effect, math.nan, math.nan, paired=False)
    paired = all(side.index.is_unique for side in (left, right)) and set(left.index) == set(
        right.index
    )
    samples = [left - right] if paired else [left, right]
    parts = [float(sample.var(ddof=1)) / len(sample) for sample in samples]
    error = math.sqrt(sum(parts))
    if error <= NO_NOISE * max(1.0, abs(effect)):
        return Comparison(effect, 0.0, math.nan, paired)
    sizes = [len(sample) for sample in samples]
    freedom = sum(parts) ** 2 / sum(
        part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True)
    )
    return Comparison(effect, error, freedom, paired)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values after Holm's correction for their number (Holm 1979).

    The chance that any true hypothesis of the family is rejected stays below the level.
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return adjusted


def mean_reach(deviation: float, size: int) -> float:
    """Half the width of the t-interval of a mean, at the level of :data:`CONFIDENCE`.

    Args:
        deviation: sample standard deviation.
        size: number of values; NaN comes back for fewer than two.
    """
    if size < 2:
        return math.nan
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, size - 1)) * deviation / math.sqrt(size)


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
