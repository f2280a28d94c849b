"""How a target is written, and what it is a cost in."""

from __future__ import annotations

import pytest

from sbs.compression.goal import Goal
from sbs.errors import SBSError


@pytest.mark.parametrize(
    ("text", "resource", "cost"),
    [
        ("630.6 M", "bops", 630.6e6),
        ("630.6e6", "bops", 630.6e6),
        ("memory: 200 KB", "memory", 200e3),
        ("memory: 1.5 MiB", "memory", 1.5 * 2**20),
        ("latency: 20 ms", "bitfusion-latency", 0.02),
        ("energy: 3 uJ", "bitfusion-energy", 3e-6),
    ],
)
def test_targets_have_units(text: str, resource: str, cost: float) -> None:
    goal = Goal.parse(text)
    assert goal.resource == resource
    assert (goal.target.factor, goal.target.reference_bits) == (pytest.approx(cost), None)


def test_targets_can_be_shares_and_bits() -> None:
    assert str(Goal.parse(0.25)) == "bops: 0.25 x full"
    assert str(Goal.parse("memory: 3-bit")) == "memory: 3-bit"
    assert str(Goal.parse("memory: 8 KB")) == "memory: 8 KB"
    assert str(Goal.parse("0.9 x 4-bit")) == "bops: 0.9 x 4-bit"


@pytest.mark.parametrize("text", ["1.2.3", ".", "1e400", "0", "memory: 1.2.3 KB", "1.2.3 x 4-bit"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(SBSError, match=r"target '.*': (write for example|a cost must be)"):
        Goal.parse(text)
