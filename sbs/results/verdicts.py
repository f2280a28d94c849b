"""Judge the paper's claims by run records.

A claim about runs compares two sides over seeds: accuracies by their difference in points, costs by
their ratio, which is computed on the logarithm. A t-test compares the effect with the claim's
bound, seed by seed where both sides have the same seeds (:func:`sbs.results.statistics.compare`).
The p-values of all claims about one table or figure are corrected together, by Holm's method. A
claim holds if its corrected p-value is below the level and the effect is on its side, and fails if
it is on the other side. Otherwise, or if a side has a single seed, it is too close to call.
Exception: full precision is the network that all runs start from, so a single run of it counts as
exact.

The smallest detectable effect says how close. It is one that would have been found although its
p-value is multiplied by the number of claims of its family: Holm's first and strictest step.

A search lands on the cost of its target, and fixed bits have the cost that they have. If that is
so on both sides of a claim about costs, the comparison is set by design, and no evidence.

A scale can give one method a larger share of its authors' search than another. Then the times of
the two searches are not comparable. So a verdict on search times must be the same for the measured
times and for the times divided by these shares; otherwise the claim is too close to call.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pandas as pd

from sbs.errors import SBSError
from sbs.registry.methods import methods
from sbs.results.claims import GAIN, KINDS, Claim
from sbs.results.collect import SHARE
from sbs.results.published import published_rows
from sbs.results.quantities import COSTS
from sbs.results.statistics import LEVEL, Comparison, compare, holm
from sbs.results.two_stage import with_best_splits

HOLDS, FAILS, CLOSE = "holds", "fails", "too close to call"
DESIGN, NOT_RUN = "set by design", "not run at this scale"
VERDICTS = (HOLDS, FAILS, CLOSE, DESIGN, NOT_RUN)


ROUNDING = 1e-9
"""Effects without noise that differ by less are equal."""


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
    runs = with_best_splits(runs)
    rows = [_row(claim, runs, theory, published) for claim in claims]
    families: defaultdict[str | None, list[tuple[Claim, dict[str, Any]]]] = defaultdict(list)
    for claim, row in zip(claims, rows, strict=True):
        if "p" in row:
            families[claim.exhibit].append((claim, row))
    for members in families.values():
        _judge_family(members)
    return pd.DataFrame(rows).drop(columns="found", errors="ignore")


def score(verdicts: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Number of claims of each kind with each verdict."""
    return {
        kind: {name: int((of_kind == name).sum()) for name in VERDICTS}
        for kind in KINDS
        if len(of_kind := verdicts.loc[verdicts["kind"] == kind, "verdict"])
    }


def verdict(claim: Claim, effect: float, p_value: float, *, exact: bool) -> str:
    """Verdict from the effect, on the scale of the test, and its corrected p-value.

    Args:
        claim: the claim.
        effect: the measured effect.
        p_value: of the hypothesis that the effect is the claim's bound.
        exact: whether the effect is one of costs without noise. Then equality is enough for "at
            least" and "at most", and too little for "more" and "less".
    """
    rising = claim.relation in ("more", "at least")
    if exact and math.isclose(effect, claim.bound, abs_tol=ROUNDING):
        return HOLDS if claim.value is not None else FAILS
    if p_value >= LEVEL:
        return CLOSE
    return HOLDS if (effect > claim.bound) == rising else FAILS


def _judge_family(members: list[tuple[Claim, dict[str, Any]]]) -> None:
    """Correct the p-values of the claims about a table or figure together, and set the verdicts."""
    corrected = holm({claim.id: row["p"] for claim, row in members})
    for claim, row in members:
        found: Comparison = row["found"]
        p_value = corrected[claim.id]
        exact = found.error == 0 and not claim.quantity.points
        detectable = found.detectable(LEVEL / len(members))
        row |= {
            "detectable": detectable if claim.quantity.points else math.exp(detectable),
            "p_holm": p_value,
            "claims_in_family": len(members),
            "verdict": verdict(claim, found.effect, p_value, exact=exact),
        }


def _row(
    claim: Claim, runs: pd.DataFrame, theory: pd.DataFrame, published: pd.DataFrame
) -> dict[str, Any]:
    row: dict[str, Any] = {"id": claim.id, "kind": claim.kind}
    row |= {"claim": claim.claim, "where": claim.where}
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
    found = compare(*sides, ratio=not quantity.points)
    by_chance = found.error == 0 and quantity.accuracy
    if by_chance:
        # Costs follow from the policy; accuracies that differ equally in each seed do so by chance.
        found = replace(found, error=math.nan)
    shown = (lambda v: v) if quantity.points else math.exp
    low, high = found.interval
    cells: dict[str, object] = {
        "measured_left": float(sides[0].mean()) / quantity.scale,
        "measured_right": float(sides[1].mean()) / quantity.scale,
        "measured": shown(found.effect),
        "low": shown(low),
        "high": shown(high),
        "paired": found.paired,
        "seeds": min(side.index.nunique() for side in sides),
        "verdict": CLOSE,
    }
    if _by_design(claim, runs):
        return cells | {"verdict": DESIGN}
    if not (found.known or by_chance):
        return cells
    p_value = 1.0 if by_chance else found.p_value(claim.bound)
    if claim.metric == "search_time":
        p_value, shares = _at_equal_shares(claim, runs, found)
        cells |= shares
    return cells | {"found": found, "p": p_value}


def _by_design(claim: Claim, runs: pd.DataFrame) -> bool:
    """Whether both sides of a claim about costs have the cost that they were given."""
    if claim.metric is None or claim.metric not in COSTS:
        return False
    assert claim.left is not None
    assert claim.right is not None
    resource = claim.metric
    return all(_is_given(_rows(runs, name), resource) for name in (claim.left, claim.right))


def _is_given(rows: pd.DataFrame, resource: str) -> bool:
    known = methods().get(str(rows["method"].iloc[0]))
    if known is None:
        return False
    if known.lands:
        return bool((rows["resource"] == resource).all() and rows["target"].notna().all())
    return not (known.bits or known.filters)


def _at_equal_shares(
    claim: Claim, runs: pd.DataFrame, found: Comparison
) -> tuple[float, dict[str, float]]:
    """The larger p-value of the times as measured and divided by the shares; and the shares.

    It is 1 if the two effects lie on different sides of the bound.
    """
    left, right = (float(side.mean()) for side in _sides(claim, runs, SHARE))
    # Dividing by constants shifts the log of the ratio.
    whole = replace(found, effect=found.effect - math.log(left / right))
    one_side = (found.effect - claim.bound) * (whole.effect - claim.bound) > 0
    p_value = max(found.p_value(claim.bound), whole.p_value(claim.bound)) if one_side else 1.0
    return p_value, {"share_left": left, "share_right": right}


def _sides(claim: Claim, runs: pd.DataFrame, column: str) -> list[pd.Series]:
    assert claim.left is not None
    assert claim.right is not None
    return [_values(runs, name, column) for name in (claim.left, claim.right)]


def _values(runs: pd.DataFrame, name: str, column: str) -> pd.Series:
    """A column of one side of a claim, by seed; empty if no run recorded it."""
    if GAIN in name:
        first, second = (_values(runs, part, column) for part in name.split(GAIN))
        return (first - second).dropna()
    chosen = _rows(runs, name).set_index("seed")
    values = chosen.get(column, pd.Series(dtype=float)).dropna()
    exact = len(values) == 1 and _is_start(name.split()[1])
    return pd.concat([values, values]) if exact else values


def _rows(runs: pd.DataFrame, name: str) -> pd.DataFrame:
    """The runs of a row of the sheet, and its other variants with this target if it pools them."""
    network, method, *variant = name.split()
    all_variants = runs[(runs["network"] == network) & (runs["method"] == method)]
    chosen = all_variants[all_variants["variant"] == (variant[0] if variant else "default")]
    known = methods().get(method)
    if known is None or not known.pools_variants:
        return chosen
    return all_variants[all_variants["target"].isin(chosen["target"])]


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
