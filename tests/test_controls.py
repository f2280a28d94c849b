"""Controls: random policies, fixed bits of two kinds, full precision trained as long."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from sbs.config.scale import Scale
from sbs.config.target import Target
from sbs.errors import SBSError
from sbs.methods.penalty import BAND
from sbs.policy import Policy
from sbs.registry.methods import method
from sbs.results.rows import with_rows
from tests.searches import context_of


def found(name: str, scale: Scale, digits: Path, tmp_path: Path, **own: int) -> Policy:
    context = context_of(name, scale, digits, tmp_path, **own)
    policy: Policy = method(name).load()(context).policy
    return policy


@pytest.fixture
def three_bits(default_scale: Scale) -> Scale:
    search = default_scale.search.model_copy(update={"target": Target.parse("3-bit")})
    return default_scale.model_copy(update={"search": search})


def test_random_policies_cost_the_target_and_differ(
    three_bits: Scale, digits_file: Path, tmp_path: Path
) -> None:
    context = context_of("random", three_bits, digits_file, tmp_path)
    cost_of, target = context.exact_cost(), context.target_cost()
    assert target is not None
    policies = [found("random", three_bits, digits_file, tmp_path, draw=d) for d in range(6)]
    for policy in policies:
        assert (1 - BAND) * target <= cost_of(policy) <= target
        ends = policy.layers["conv1"], policy.layers["fc"]
        assert all(end.weight_bits == end.activation_bits == 8 for end in ends)
    assert len({policy.model_dump_json() for policy in policies}) == len(policies)
    assert found("random", three_bits, digits_file, tmp_path, draw=0) == policies[0]


def test_random_bits_favour_no_layer_and_no_side(
    three_bits: Scale, digits_file: Path, tmp_path: Path
) -> None:
    policies = [found("random", three_bits, digits_file, tmp_path, draw=d) for d in range(40)]
    sides = {"weight_bits": Counter[int](), "activation_bits": Counter[int]()}
    for policy in policies:
        for name, layer in policy.layers.items():
            if name not in ("conv1", "fc"):
                for side, counts in sides.items():
                    counts[getattr(layer, side)] += 1
    for counts in sides.values():
        assert set(counts) == {2, 4, 8}
        assert counts[2] > counts[4] > counts[8]
    weights, inputs = (counts[2] / counts.total() for counts in sides.values())
    assert abs(weights - inputs) < 0.1  # 800 draws each: four standard deviations


def test_random_needs_a_target(default_scale: Scale, digits_file: Path, tmp_path: Path) -> None:
    search = default_scale.search.model_copy(update={"target": None})
    scale = default_scale.model_copy(update={"search": search})
    with pytest.raises(SBSError, match="random needs a target"):
        found("random", scale, digits_file, tmp_path)


def test_fixed_bits_of_weights_and_inputs_can_differ(
    default_scale: Scale, digits_file: Path, tmp_path: Path
) -> None:
    policy = found("fixed-w2a4", default_scale, digits_file, tmp_path)
    bits = {(layer.weight_bits, layer.activation_bits) for layer in policy.layers.values()}
    assert bits == {(2, 4), (8, 8)}
    assert [name for name, layer in policy.layers.items() if layer.weight_bits == 8] == [
        "conv1",
        "fc",
    ]


def test_fixed32_is_full_precision(default_scale: Scale, digits_file: Path, tmp_path: Path) -> None:
    policy = found("fixed32", default_scale, digits_file, tmp_path)
    bits = {(layer.weight_bits, layer.activation_bits) for layer in policy.layers.values()}
    assert bits == {(32, 32)}
    assert not method("fixed32").quantizes


def test_draws_of_random_policies_share_a_row_and_other_variants_do_not() -> None:
    runs = pd.DataFrame(
        {
            "network": ["resnet20"] * 2,
            "method": ["random"] * 2,
            "variant": ["default", "second"],
            "bit_sharing": [True, True],
        }
    )
    assert list(with_rows(runs)["label"]) == ["Random bits"] * 2
    with pytest.raises(SBSError, match="several variants of resnet20 sbs"):
        with_rows(runs.assign(method="sbs"))


@pytest.mark.parametrize(("name", "filters"), [("cost-only", True), ("cost-only-q", False)])
def test_searches_by_cost_only_mirror_their_originals(name: str, filters: bool) -> None:
    control, original = method(name), method("sbs" if filters else "sbs_q")
    assert control.filters == original.filters == filters
    assert control.bits
    assert control.options["loss_aware"] is False
