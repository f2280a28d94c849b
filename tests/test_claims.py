"""Claims: well formed, judged by intervals, never better than their data."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
import yaml

from sbs.config.experiments import LABEL
from sbs.errors import SBSError
from sbs.registry.methods import methods
from sbs.registry.networks import networks
from sbs.results.claims import GAIN, OWN, PAPER, STATEMENT, Claim, load_claims
from sbs.results.collect import collect
from sbs.results.scoreboard import scoreboard, updated
from sbs.results.verdict_rendering import cells, rendering
from sbs.results.verdicts import CLOSE, DESIGN, FAILS, HOLDS, NOT_RUN, judge, score, verdict
from sbs.theory import convergence, statements, toy
from tests.conftest import ROOT
from tests.records import record

CLAIMS = load_claims(ROOT / "config" / "claims.yaml")
PUBLISHED = pd.read_csv(ROOT / "config" / "published.csv")
THEORY = pd.DataFrame({"statement": [c.statement for c in CLAIMS if c.statement], "holds": True})
THEORY[["cases", "failures"]] = 10, 0
ACCURACY = Claim(
    id="a",
    claim="",
    where="",
    left="resnet20 sbs",
    right="resnet20 dq",
    metric="top1",
    relation="more",
    shown="table1",
)


def runs(**samples: list[float]) -> pd.DataFrame:
    return collect(
        [
            record(method=method, seed=seed, top1=value)
            for method, values in samples.items()
            for seed, value in enumerate(values)
        ]
    )


def judged(claim: Claim, table: pd.DataFrame) -> pd.Series:
    return judge([claim], table, THEORY, PUBLISHED).iloc[0]


def test_all_claims_name_runs_that_can_exist() -> None:
    assert len(CLAIMS) >= 30
    for claim in CLAIMS:
        for side in (claim.left, claim.right):
            for run in side.split(GAIN) if side else ():
                network, method, *variant = run.split()
                assert network in networks()
                assert method in methods()
                assert len(variant) <= 1
                assert all(LABEL.fullmatch(label) for label in variant)


def test_every_statement_is_one_of_the_table() -> None:
    ends = pd.DataFrame({"scheme": list(toy.SCHEMES), "curve": 0.0, "final": 0.0})
    measured = convergence.claims(convergence.summary(range(2), (0.1,)), ends)["statement"]
    known = {name for name, *_ in statements.STATEMENTS} | set(measured)
    assert {claim.statement for claim in CLAIMS if claim.statement} <= known


def test_published_effects_agree_with_the_claims_but_for_the_known_slips() -> None:
    table = judge(CLAIMS, runs(sbs=[1.0]), THEORY, PUBLISHED)
    against = set()
    for claim, effect in zip(CLAIMS, table["published"], strict=True):
        if claim.relation is None or math.isnan(effect):
            continue
        value = effect if claim.metric == "top1" else math.log(effect)
        # What is printed with one decimal is known to half of it.
        slack = 0.051 if claim.metric == "top1" else 0.05
        if verdict(claim, value, 0.0, exact=False) != HOLDS and abs(value - claim.bound) > slack:
            against.add(claim.id)
    # Section 5.6 says that SBS from scratch surpasses full precision; Table 12 says otherwise.
    assert against == {"resnet20-scratch-above-full", "resnet56-scratch-above-full"}


def test_verdicts_follow_the_interval() -> None:
    assert judged(ACCURACY, runs(sbs=[90, 91, 92], dq=[80, 81, 83]))["verdict"] == HOLDS
    assert judged(ACCURACY, runs(sbs=[80, 81, 83], dq=[90, 91, 92]))["verdict"] == FAILS
    assert judged(ACCURACY, runs(sbs=[90, 91, 92], dq=[89, 91, 92]))["verdict"] == CLOSE
    assert judged(ACCURACY, runs(sbs=[99.0], dq=[1.0, 2.0]))["verdict"] == CLOSE
    # Equal on average says nothing, nor do two equal differences of few seeds.
    assert judged(ACCURACY, runs(sbs=[89, 90, 91], dq=[91, 90, 89]))["verdict"] == CLOSE
    assert judged(ACCURACY, runs(sbs=[90, 91], dq=[89, 90]))["verdict"] == CLOSE
    # Of costs, which have no noise, equal is not less.
    assert verdict(ACCURACY.model_copy(update={"metric": "bops"}), 0.0, 1.0, exact=True) == FAILS
    missing = judged(ACCURACY, runs(sbs=[99.0, 99.5]))
    assert missing["verdict"] == NOT_RUN
    assert pd.isna(missing.get("measured"))


def test_claims_of_one_table_are_corrected_together() -> None:
    alone = ACCURACY.model_copy(update={"published": ("table1", "sbs", "dq")})
    table = runs(sbs=[90.0, 91.0, 92.0], dq=[88.9, 89.7, 91.3], haq=[88.0, 91.5, 90.6])
    others = [
        alone.model_copy(update={"id": f"other-{n}", "right": "resnet20 haq"}) for n in range(9)
    ]
    single = judge([alone], table, THEORY, PUBLISHED).iloc[0]
    many = judge([alone, *others], table, THEORY, PUBLISHED).iloc[0]
    assert single["verdict"] == HOLDS
    assert many["verdict"] == CLOSE
    assert single["p"] == many["p"] < many["p_holm"] == pytest.approx(10 * many["p"])
    # What alone could have been seen is too little among ten.
    assert single["detectable"] < single["measured"] < many["detectable"]


@pytest.mark.parametrize(("shown", "together"), [("table1", 2), ("table2", 1)])
def test_claims_without_published_values_are_corrected_too(shown: str, together: int) -> None:
    table = runs(sbs=[90.0, 91.0, 92.0], dq=[88.9, 89.7, 91.3], haq=[88.0, 91.5, 90.6])
    published = ACCURACY.model_copy(update={"published": ("table1", "sbs", "dq"), "shown": None})
    other = ACCURACY.model_copy(update={"id": "b", "right": "resnet20 haq", "shown": shown})
    found = judge([published, other], table, THEORY, PUBLISHED)
    assert found["claims_in_family"].eq(together).all()


def test_a_comparison_that_is_equal_by_chance_counts_in_the_correction() -> None:
    table = runs(sbs=[90.0, 91.0, 92.0], dq=[88.9, 89.7, 91.3], haq=[90.0, 91.0, 92.0])
    equal = ACCURACY.model_copy(update={"id": "b", "right": "resnet20 haq"})
    (_, first), (_, second) = judge([ACCURACY, equal], table, THEORY, PUBLISHED).iterrows()
    assert first["p_holm"] == pytest.approx(2 * first["p"])
    assert second["p"] == second["p_holm"] == 1.0
    assert second["verdict"] == CLOSE
    # Whether the difference has noise is not known, so there is no interval to show.
    assert second[["low", "high", "detectable"]].isna().all()
    assert cells(second)["95 % interval"] == "equal in all seeds"


@pytest.mark.parametrize(("bits", "expected"), [(4.0, HOLDS), (-4.0, FAILS), (0.0, CLOSE)])
def test_bits_that_are_equal_in_all_seeds_are_no_coincidence(bits: float, expected: str) -> None:
    table = runs(sbs=[90.0, 91.0, 92.0], fixed4=[90.0, 91.0, 92.0])
    table["pointwise_bits"] = table["method"].map({"sbs": bits, "fixed4": 0.0})
    change = {"metric": "pointwise_bits", "right": "resnet20 fixed4"}
    assert judged(ACCURACY.model_copy(update=change), table)["verdict"] == expected


def test_every_claim_about_runs_names_its_table_or_figure() -> None:
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("*.py")}
    assert {claim.exhibit for claim in CLAIMS if claim.left} <= notebooks
    with pytest.raises(ValueError, match="either published or shown"):
        Claim.model_validate(ACCURACY.model_dump() | {"shown": None})


def test_costs_that_were_given_are_no_evidence() -> None:
    claim = ACCURACY.model_copy(update={"metric": "bops", "relation": "less"})

    def table(target: float | None, resource: str = "bops") -> pd.DataFrame:
        rows = collect(
            [
                record(stage=stage, method=method, seed=s, bops=bops + s, target=target)
                for stage in ("search", "finetune")
                for method, bops in (("sbs", 100.0), ("dq", 200.0), ("fixed4", 300.0))
                for s in (0, 1, 2)
            ]
        )
        return rows.assign(resource=resource)

    against_fixed = claim.model_copy(update={"right": "resnet20 fixed4"})
    assert judged(against_fixed, table(100.0))["verdict"] == DESIGN
    assert judged(against_fixed, table(None))["verdict"] == HOLDS
    assert judged(against_fixed, table(100.0, "memory"))["verdict"] == HOLDS
    assert judged(claim, table(100.0))["verdict"] == HOLDS  # DQ is given memory, not operations


def test_a_single_full_precision_network_is_exact() -> None:
    claim = ACCURACY.model_copy(update={"right": "resnet20 fp"})
    assert judged(claim, runs(sbs=[90.0, 91.0, 92.0], fp=[80.0]))["verdict"] == HOLDS
    assert judged(ACCURACY, runs(sbs=[90.0, 91.0, 92.0], dq=[80.0]))["verdict"] == CLOSE


def test_costs_are_compared_by_ratio() -> None:
    claim = ACCURACY.model_copy(update={"metric": "bops", "relation": "at least", "value": 1.9})
    table = collect(
        [record(method="sbs", seed=s, bops=200.0 + s) for s in (0, 1)]
        + [record(method="dq", seed=s, bops=100.0) for s in (0, 1)]
    )
    row = judged(claim, table)
    assert row["measured"] == pytest.approx(2.005, rel=1e-3)
    assert row["low"] < row["measured"] < row["high"]
    assert row["verdict"] == HOLDS
    stricter = claim.model_copy(update={"value": 3.0})
    assert judged(stricter, table)["verdict"] == FAILS
    assert judged(claim.model_copy(update={"relation": "at most"}), table)["verdict"] == FAILS


@pytest.mark.parametrize(
    ("sbs", "dq", "expected"),
    [
        (2.0, 4.0, HOLDS),  # with shares of 20 and 10 %: 10 against 40
        (3.0, 2.0, CLOSE),  # more as measured, less at equal shares: 15 against 20
        (5.0, 2.0, FAILS),  # 25 against 20
    ],
)
def test_search_times_compare_at_equal_shares_too(sbs: float, dq: float, expected: str) -> None:
    claim = ACCURACY.model_copy(update={"metric": "search_time", "relation": "less"})
    table = collect(
        [
            record(stage=stage, method=method, seed=seed, device_hours=hours * (1 + seed / 1000))
            for stage in ("search", "finetune")
            for method, hours in (("sbs", sbs), ("dq", dq))
            for seed in range(3)
        ]
    )
    row = judged(claim, table)
    assert row["verdict"] == expected
    assert row["measured"] == pytest.approx(sbs / dq)
    assert "20.0 : 10.0 % of the authors'" in cells(row)["measured values"]


def test_gains_are_compared_seed_by_seed() -> None:
    claim = ACCURACY.model_copy(
        update={"left": "resnet20 sbs - resnet20 dq", "right": "resnet20 haq"}
    )
    table = runs(sbs=[95.0, 94.0, 99.0], dq=[85.0, 83.0], haq=[9.0, 9.5, 9.2])
    row = judged(claim, table)
    assert row["measured_left"] == pytest.approx(10.5)  # the third seed has no counterpart
    assert row["seeds"] == 2


def test_what_no_run_has_recorded_is_not_judged() -> None:
    claim = ACCURACY.model_copy(update={"metric": "bitfusion-latency"})
    assert judged(claim, runs(sbs=[90.0, 91.0], dq=[80.0, 81.0]))["verdict"] == NOT_RUN


def test_score_and_page_say_what_the_data_are() -> None:
    table = judge(CLAIMS, runs(sbs=[90.0, 91.0], fixed4=[80.0, 81.0]), THEORY, PUBLISHED)
    counts = score(table)
    assert sum(sum(of_kind.values()) for of_kind in counts.values()) == len(CLAIMS)
    assert counts[PAPER][NOT_RUN] > 50
    assert counts[OWN][NOT_RUN] > 10
    assert counts[STATEMENT][HOLDS] == len(THEORY)
    text = rendering(table, "digits", "digits")
    assert "judged by runs on **digits**" in text
    assert f"- {STATEMENT}: {len(THEORY)} holds.\n" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relation": "most"}, "claim x: relation"),
        ({"metric": "weight"}, "unknown metric 'weight'; known are top1, top5, bops"),
        ({"relation": "at least"}, "need a value"),
        ({"left": None}, "give either statement, or left"),
        ({"colour": 1}, "colour"),
        ({"left": "a b - a c", "metric": "bops"}, "a gain needs the metric top1 or top5"),
    ],
)
def test_malformed_claims_are_named(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    entry = {"id": "x", "claim": "c", "where": "w", "left": "a b", "right": "a c"}
    entry |= {"metric": "top1", "relation": "more"} | change
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump([entry]))
    with pytest.raises(SBSError, match=message):
        load_claims(path)


def test_two_claims_of_one_name_are_refused(tmp_path: Path) -> None:
    entry = ACCURACY.model_dump(exclude_none=True)
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump([entry, entry]))
    with pytest.raises(SBSError, match="two claims 'a'"):
        load_claims(path)


def test_the_readme_shows_the_score_of_every_committed_scale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    readme = Path("README.md").read_text()
    board = scoreboard(Path("results/measured"))
    assert updated(readme, board) == readme, "run `make snapshot`"
    assert "claims.md" in board


def test_a_readme_without_its_markers_is_refused() -> None:
    with pytest.raises(SBSError, match="no line '<!-- written by"):
        updated("# Title\n", "| a |")


@pytest.mark.parametrize(("dataset", "warned"), [("digits", 1), ("cifar100", 0), ("imagenet", 0)])
def test_only_runs_on_other_datasets_say_little_about_the_papers(dataset: str, warned: int) -> None:
    table = judge([ACCURACY], runs(sbs=[90.0, 91.0], dq=[80.0, 83.0]), THEORY, PUBLISHED)
    assert rendering(table, "x", dataset).count("say little about the paper's datasets") == warned
