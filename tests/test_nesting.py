"""Whether cheaper policies close what dearer ones close."""

from __future__ import annotations

from typing import Any

import pytest

from sbs.policy import LayerPolicy, Policy
from sbs.provenance.records import RunRecord
from sbs.results.nesting import COLUMNS, nesting
from tests.test_configurations import searches

ROW = "resnet20/sbs/default"


def search(target: float, variant: str, **layers: dict[str, Any]) -> tuple[RunRecord, Policy]:
    """A search of ResNet-20 that changed these layers of the highest bits and all filters."""
    record = searches(ROW)[0][0]
    policy = searches(ROW)[1][0]
    whole = {
        name: LayerPolicy(weight_bits=8, activation_bits=8).model_copy(update=layers.get(name, {}))
        for name in policy.layers
    }
    changed = record.model_copy(update={"target": target, "variant": variant})
    return changed, policy.model_copy(update={"layers": whole})


def table_of(*found: tuple[RunRecord, Policy]) -> Any:
    records, policies = zip(*found, strict=True)
    return nesting(records, policies).set_index("kind")


def test_shares_are_of_gates_and_of_filters() -> None:
    """22 layers, 20 of them free, with two gates for weights and two for inputs: 80 gates."""
    kept = tuple(range(4, 16))
    name, other = "layer1.0.conv1", "layer1.1.conv1"
    dearer = {name: {"weight_bits": 4, "kept": kept}, other: {"activation_bits": 2}}
    cheaper = {name: {"weight_bits": 2, "kept": kept[:4]}, other: {"activation_bits": 4}}
    table = table_of(
        search(1.0, "low", **cheaper),
        search(2.0, "high", **dearer),
    )
    assert table.loc["bits", ["dearer", "cheaper", "seeds"]].tolist() == ["high", "low", 1]
    assert table.loc["bits", "closed"] == pytest.approx(100 * 3 / 80)
    assert table.loc["bits", "nested"] == pytest.approx(100 * 2 / 3)
    # The cheaper policy closes two of the 40 gates to 8 bits, and one of the 40 to 4 bits.
    by_chance = 2 / 40 + (1 / 40 + 2 / 40)
    assert table.loc["bits", "chance"] == pytest.approx(100 * by_chance / 3)
    filters = 3 * (16 + 32 + 64)
    assert table.loc["filters", "closed"] == pytest.approx(100 * 4 / filters)
    assert table.loc["filters", "nested"] == 100
    assert table.loc["filters", "chance"] == pytest.approx(100 * 12 / 16)


def test_neighbouring_targets_of_one_seed_are_compared_and_nothing_else() -> None:
    bits = {"layer1.0.conv1": {"weight_bits": 4}}
    found = [search(target, f"at-{target:g}", **bits) for target in (1.0, 3.0, 2.0)]
    table = table_of(*found)
    assert list(zip(table["dearer"], table["cheaper"], strict=True)) == [
        ("at-3", "at-2"),
        ("at-2", "at-1"),
    ]
    other = found[0][0].model_copy(update={"seed": 7}), found[0][1]
    assert table_of(other, found[1], found[2])["seeds"].tolist() == [1]
    assert list(nesting(*zip(found[0], strict=True)).columns) == COLUMNS
    real = nesting(*searches(ROW))
    assert real.empty
