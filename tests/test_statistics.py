"""Which differences are larger than the noise over seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sbs.results.statistics import compare, holm, letters, mean_reach, tie


def around(*means: float) -> dict[str, pd.Series]:
    """Samples of the names 1, 2 ... with the same spread."""
    shifts = pd.Series([-1.0, 0.0, 1.0])
    return {str(n): mean + shifts for n, mean in enumerate(means, start=1)}


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        # Neighbours tie, the ends differ: ties are not transitive.
        (around(90, 92, 94), {"1": "b", "2": "a b", "3": "a"}),
        (around(90, 92, 94, 96), {"1": "c", "2": "b c", "3": "a b", "4": "a"}),
        (around(80, 90, 90), {"1": "b", "2": "a", "3": "a"}),
        (around(80), {"1": "a"}),
        (around(80) | {"one": pd.Series([80.0])}, {"1": "a", "one": ""}),
        ({"one": pd.Series([80.0])}, {"one": ""}),
    ],
)
def test_letters_by_hand(samples: dict[str, pd.Series], expected: dict[str, str]) -> None:
    assert letters(samples) == expected


@given(
    st.dictionaries(
        st.text("abcdefgh", min_size=1, max_size=2),
        st.lists(st.floats(60, 70), min_size=1, max_size=4).map(pd.Series),
        max_size=7,
    )
)
def test_two_samples_share_a_letter_exactly_if_they_tie(samples: dict[str, pd.Series]) -> None:
    shown = {name: set(text.split()) for name, text in letters(samples).items()}
    for one in samples:
        assert bool(shown[one]) == (len(samples[one]) > 1)
        for other in samples:
            if one != other:
                assert bool(shown[one] & shown[other]) == bool(tie(samples[one], samples[other]))


@given(st.lists(st.floats(60, 70), min_size=3, max_size=6), st.floats(5, 20))
def test_a_tie_is_symmetric_and_a_wide_gap_is_none(values: list[float], gap: float) -> None:
    near, far = pd.Series(values), pd.Series(values) + 100 * gap
    assert tie(near, near)
    assert not tie(near, far)
    assert tie(near, far) == tie(far, near)


def test_equal_and_different_constants() -> None:
    one, other = pd.Series([1.0, 1.0]), pd.Series([2.0, 2.0])
    assert tie(one, one) is True
    assert tie(one, other) is False
    assert tie(one, other[:1]) is None


@given(
    st.lists(st.floats(50, 90), min_size=2, max_size=6),
    st.lists(st.floats(50, 90), min_size=2, max_size=6),
)
def test_the_comparison_is_scipys(left: list[float], right: list[float]) -> None:
    """Paired where the seeds are the same, Welch's otherwise."""
    if max(pd.Series(left).std(), pd.Series(right).std()) < 1e-3:
        return
    apart = pd.Series(right, index=range(10, 10 + len(right)))
    found = compare(pd.Series(left), apart, ratio=False)
    moments = [(pd.Series(s).mean(), pd.Series(s).std(), len(s)) for s in (left, right)]
    welch = stats.ttest_ind_from_stats(*moments[0], *moments[1], equal_var=False)
    assert not found.paired
    assert found.p_value(0.0) == pytest.approx(welch.pvalue, abs=1e-9)
    low, high = found.interval
    if abs(welch.pvalue - 0.05) > 1e-6:
        assert (low > 0 or high < 0) == (welch.pvalue < 0.05)
    size = min(len(left), len(right))
    first, second = pd.Series(left[:size]), pd.Series(right[:size])
    if (first - second).std() > 1e-3:
        pairs = compare(first, second, ratio=False)
        assert pairs.paired
        want = stats.ttest_rel(first, second).pvalue
        assert pairs.p_value(0.0) == pytest.approx(want, abs=1e-9)


def test_pairing_removes_what_the_seeds_share() -> None:
    shared = pd.Series([60.0, 65.0, 70.0])
    found = compare(shared + pd.Series([1.0, 1.1, 0.9]), shared, ratio=False)
    assert found.p_value(0.0) < 0.01
    apart = compare(shared + 1.0, shared.set_axis([5, 6, 7]), ratio=False)
    assert apart.p_value(0.0) > 0.5


@pytest.mark.parametrize("level", [0.05, 0.01])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_smallest_detectable_effect_is_found_in_four_of_five_repetitions(
    seeds: int, level: float
) -> None:
    generator = np.random.default_rng(0)
    true = compare(
        pd.Series([0.0, *[1.0] * (seeds - 1)]), pd.Series([0.0] * seeds), ratio=False
    ).error
    noise = true * np.sqrt(seeds)
    sample = pd.Series(stats.norm.ppf((np.arange(seeds) + 0.5) / seeds))
    sample = noise * (sample - sample.mean()) / sample.std()
    shift = compare(sample, 0 * sample, ratio=False).detectable(level)
    draws = generator.normal(shift, noise, (4000, seeds))
    rejected = stats.ttest_1samp(draws, 0, axis=1).pvalue < level
    assert rejected.mean() == pytest.approx(0.8, abs=0.02)


def test_holm_by_hand() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}


def test_the_interval_of_a_mean_is_that_of_its_t_test() -> None:
    sample = pd.Series([66.1, 67.0, 66.4, 66.9])
    low, high = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
    reach = mean_reach(float(sample.std()), len(sample))
    assert (sample.mean() - reach, sample.mean() + reach) == pytest.approx((low, high))
    assert np.isnan(mean_reach(float("nan"), 1))
