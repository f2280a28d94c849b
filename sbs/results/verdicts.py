"""Judge the paper's claims by run records.

A claim about runs compares two sides over seeds: accuracies by their difference in points, costs by
their ratio. Both get Welch's confidence interval; for ratios it is computed on the logarithm. A
claim holds if the whole interval is on its side, and fails if the whole interval is on the other
side. In between, or if a side has a single seed, it is too close to call. Exception: full precision
is the network that all runs start from, so a single run of it counts as exact. Each interval is at
95 % and not corrected for multiple comparisons.

A scale can give one method a larger share of its authors' search than another. Then the times of
the two searches are not comparable. So a verdict on search times must be the same for the measured
times and for the times divided by these shares; otherwise the claim is too close to call.
"""

from __future__ import annotations

import math

import pandas as pd

from sbs.errors import SBSError
from sbs.registry.methods import methods
from sbs.results.claims import GAIN, Claim
from sbs.results.collect import SHARE
from sbs.results.published import published_rows
from sbs.results.statistics import Interval, interval

HOLDS, FAILS, CLOSE, NOT_RUN = "holds", "fails", "too close to call", "not run at this scale"


def judge(
    claims: list[Claim], runs: pd.DataFrame, theory: pd.DataFrame, published: pd.DataFrame
) -> pd.DataFrame:
    """One row per claim: values of both sides, effects (published and measured), and the verdict.

    Values of a side are means over seeds, in the units of
    :data:`sbs.results.quantities.QUANTITIES`. The effect is their difference in points; for costs
    it is the ratio of their geometric means.

    Args:
        claims: claims of the paper.
        runs: table of :func:`sbs.results.collect.collect`.
        theory: content of ``theory.csv``.
        published: the paper's values.

    Raises:
        SBSError: a claim names a statement or published values that do not exist.
    """
    return pd.DataFrame([_row(claim, runs, theory, published) for claim in claims])


def score(verdicts: pd.DataFrame) -> dict[str, int]:
    """Number of claims with each verdict."""
    return {
        name: int((verdicts["verdict"] == name).sum()) for name in (HOLDS, FAILS, CLOSE, NOT_RUN)
    }


def verdict(claim: Claim, found: Interval) -> str:
    """Verdict from the position of the interval relative to the claim's bound."""
    if math.isnan(found.low):
        return CLOSE
    bound = claim.bound
    if claim.relation == "less":
        return HOLDS if found.high < bound else FAILS if found.low >= bound else CLOSE
    if claim.relation == "more":
        return HOLDS if found.low > bound else FAILS if found.high <= bound else CLOSE
    if claim.relation == "at most":
        return HOLDS if found.high <= bound else FAILS if found.low > bound else CLOSE
    return HOLDS if found.low >= bound else FAILS if found.high < bound else CLOSE


def _row(
    claim: Claim, runs: pd.DataFrame, theory: pd.DataFrame, published: pd.DataFrame
) -> dict[str, object]:
    row: dict[str, object] = {"id": claim.id, "claim": claim.claim, "where": claim.where}
    if claim.statement is not None:
        return row | _of_statement(claim, theory)
    row |= {"left": claim.left, "right": claim.right, "metric": claim.metric}
    row |= {"relation": f"{claim.relation} {'' if claim.value is None else claim.value}".strip()}
    row |= {"unit": claim.quantity.unit}
    return row | _published(claim, published) | _measured(claim, runs)


def _of_statement(claim: Claim, theory: pd.DataFrame) -> dict[str, object]:
    found = theory[theory["statement"] == claim.statement]
    if len(found) != 1:
        raise SBSError(f"claim {claim.id}: theory.csv has no statement {claim.statement!r}")
    counts = {name: found[name].item() for name in ("cases", "failures")}
    return counts | {"verdict": HOLDS if bool(found["holds"].item()) else FAILS}


def _measured(claim: Claim, runs: pd.DataFrame) -> dict[str, object]:
    quantity = claim.quantity
    sides = _sides(claim, runs, quantity.column)
    if not all(len(side) for side in sides):
        return {"verdict": NOT_RUN}
    found = interval(*sides, ratio=not quantity.points)
    shown = (lambda v: v) if quantity.points else math.exp
    decided = verdict(claim, found)
    shares: dict[str, float] = {}
    if claim.metric == "search_time":
        decided, shares = _at_equal_shares(claim, runs, sides, decided)
    return shares | {
        "measured_left": float(sides[0].mean()) / quantity.scale,
        "measured_right": float(sides[1].mean()) / quantity.scale,
        "measured": shown(found.effect),
        "low": shown(found.low),
        "high": shown(found.high),
        "seeds": min(side.index.nunique() for side in sides),
        "verdict": decided,
    }


def _at_equal_shares(
    claim: Claim, runs: pd.DataFrame, sides: list[pd.Series], decided: str
) -> tuple[str, dict[str, float]]:
    """The verdict, if it is the same after division by the shares; and the share of each side."""
    shares = _sides(claim, runs, SHARE)
    whole = interval(sides[0] / shares[0], sides[1] / shares[1], ratio=True)
    means = {"share_left": float(shares[0].mean()), "share_right": float(shares[1].mean())}
    return decided if verdict(claim, whole) == decided else CLOSE, means


def _sides(claim: Claim, runs: pd.DataFrame, column: str) -> list[pd.Series]:
    assert claim.left is not None
    assert claim.right is not None
    return [_values(runs, name, column) for name in (claim.left, claim.right)]


def _values(runs: pd.DataFrame, name: str, column: str) -> pd.Series:
    """A column of one side of a claim, by seed; empty if no run recorded it."""
    if GAIN in name:
        first, second = (_values(runs, part, column) for part in name.split(GAIN))
        return (first - second).dropna()
    network, method, *variant = name.split()
    chosen = runs[
        (runs["network"] == network)
        & (runs["method"] == method)
        & (runs["variant"] == (variant[0] if variant else "default"))
    ].set_index("seed")
    values = chosen.get(column, pd.Series(dtype=float)).dropna()
    exact = len(values) == 1 and _is_start(method)
    return pd.concat([values, values]) if exact else values


def _is_start(method: str) -> bool:
    """Whether the method is the pretrained network itself, from which all runs start."""
    known = methods().get(method)
    return known is not None and known.search is None


def _published(claim: Claim, published: pd.DataFrame) -> dict[str, object]:
    """The paper's values and effect, from its printed numbers."""
    if claim.published is None or claim.left is None:
        return {}
    table, left, right = claim.published
    rows = published_rows(published, table, claim.left.split()[0])
    factors = claim.quantity.published
    rows = rows[rows["metric"].isin(list(factors))]
    found = (rows["value"] * rows["metric"].map(factors)).set_axis(rows["method"])
    if left not in found or right not in found:
        raise SBSError(f"claim {claim.id}: no published {claim.metric} of {left} and {right}")
    if claim.quantity.points:
        effect = round(float(found[left] - found[right]), 6)
    else:
        effect = float(found[left] / found[right])
    return {
        "published_left": float(found[left]),
        "published_right": float(found[right]),
        "published": effect,
    }
