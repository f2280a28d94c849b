"""Costs of the paper's networks at full and at fixed precision."""

from __future__ import annotations

import pandas as pd
import pytest

from sbs.results.fixed_costs import fixed_bits, fixed_costs
from tests.conftest import ROOT

# 1482.047 M is printed as 1482.1.
SLIPS = [("table10", "resnet20", 6, "bops_m")]


def test_all_printed_costs_but_the_known_slip_come_out() -> None:
    found = fixed_costs(pd.read_csv(ROOT / "config" / "published.csv"))
    assert len(found) > 40
    assert set(found["table"]) >= {"table1", "table2", "table3", "table4", "table11", "tableI"}
    wrong = found[~found["equal"]]
    rows = wrong[["table", "network", "bits", "metric"]].itertuples(index=False, name=None)
    assert list(rows) == SLIPS
    one = found[(found["network"] == "resnet50") & (found["bits"] == 8)].iloc[0]
    assert (one["published"], one["computed"]) == (261.7, pytest.approx(261.7, abs=0.05))


def test_a_changed_number_is_noticed() -> None:
    published = pd.DataFrame(
        [["table3", "imagenet", "resnet18", "fixed4", "bops_g", 34.8]],
        columns=["table", "dataset", "network", "method", "metric", "value"],
    )
    assert fixed_costs(published)["equal"].tolist() == [False]


def test_methods_of_fixed_bits_are_recognised() -> None:
    names = ("fp", "fixed4", "fixed6_scratch", "sbs", "fixedpoint")
    assert [fixed_bits(name) for name in names] == [32, 4, 6, None, None]
