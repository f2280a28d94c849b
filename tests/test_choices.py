"""What a policy chose, in numbers, and the claims about it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sbs.policy import LayerPolicy, Policy, uniform_policy
from sbs.provenance.records import RunRecord
from sbs.results.choices import COLUMNS, choices
from sbs.results.claims import load_claims
from sbs.results.collect import write_runs
from sbs.results.verdicts import judge
from tests.conftest import ROOT
from tests.records import record

SEARCH = ROOT / "results" / "measured" / "digits" / "search" / "resnet20" / "sbs" / "default"


def start() -> tuple[RunRecord, Policy]:
    """A search of ResNet-20, and a policy with 4 bits everywhere."""
    known = Policy.load(SEARCH / "seed-0" / "policy.json")
    search = record(stage="search", network="resnet20", dataset="digits")
    return search, uniform_policy("resnet20", list(known.layers), 4)


def with_layers(policy: Policy, **changes: LayerPolicy) -> Policy:
    named = {name.replace("__", "."): layer for name, layer in changes.items()}
    return policy.model_copy(update={"layers": policy.layers | named})


def test_the_same_bits_everywhere_are_zero() -> None:
    assert choices(*start()) == dict.fromkeys(COLUMNS, 0.0)


def test_bits_of_downsampling_layers_against_the_others() -> None:
    search, policy = start()
    eight = LayerPolicy(weight_bits=8, activation_bits=4)
    policy = with_layers(policy, layer2__0__downsample__0=eight, layer1__0__conv1=eight)
    # 8 and 4 bits in the two shortcuts; 8 bits once and 4 bits 17 times in the others.
    assert choices(search, policy)["pointwise_bits"] == pytest.approx(6 - (8 + 17 * 4) / 18)


def test_pruning_by_depth_and_by_bits() -> None:
    search, policy = start()
    early = LayerPolicy(weight_bits=8, activation_bits=4, kept=tuple(range(8)))
    found = choices(search, with_layers(policy, layer1__0__conv1=early))
    # Nine layers can lose filters; half of 16 filters are gone in the first of the first four.
    assert found["early_pruning"] == pytest.approx(50 / 4)
    assert found["pruned_bits"] == pytest.approx(1)
    late = LayerPolicy(weight_bits=2, activation_bits=4, kept=tuple(range(48)))
    found = choices(search, with_layers(policy, layer3__2__conv1=late))
    assert found["early_pruning"] == pytest.approx(-25 / 5)
    assert found["pruned_bits"] == pytest.approx(-1)


def test_collected_runs_have_the_choices_and_claims_are_judged_by_them(tmp_path: Path) -> None:
    measured = ROOT / "results" / "measured" / "digits"
    rows = ["resnet20/sbs/default", "resnet20/sbs_q/default", "resnet20/fixed4/default"]
    paths = [
        measured / stage / row / f"seed-{seed}" / name
        for row in rows
        for seed in range(5)
        for stage, name in (("search", "search.json"), ("finetune", "metrics.json"))
    ]
    write_runs(paths, tmp_path / "runs.csv")
    runs = pd.read_csv(tmp_path / "runs.csv")
    assert runs[list(COLUMNS)].notna().all(axis=None)
    assert (runs.loc[runs["method"] == "fixed4", list(COLUMNS)] == 0).all(axis=None)
    claims = [
        claim
        for claim in load_claims(ROOT / "config" / "claims.yaml")
        if claim.metric in COLUMNS and "resnet20" in str(claim.left)
    ]
    published = pd.read_csv(ROOT / "config" / "published.csv")
    verdicts = judge(claims, runs, pd.DataFrame({"statement": []}), published)
    own = runs.groupby("method")[list(COLUMNS)].mean()
    assert len(verdicts) == len(COLUMNS)
    for row in verdicts.to_dict("records"):
        method = row["left"].split()[1]
        assert row["measured"] == pytest.approx(own.loc[method, row["metric"]])
        assert row["verdict"] in ("holds", "fails", "too close to call")
