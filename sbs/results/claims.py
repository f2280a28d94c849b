"""The paper's claims, judged by run records: ``config/claims.yaml`` to verdicts.

A claim about runs compares two of them over seeds. Accuracies are compared by their difference in
points, costs by their ratio; both get Welch's confidence interval, on the logarithm for ratios. A
claim holds if the whole interval is on its side, fails if the whole interval is on the other, and
is too close to call in between or where a side has a single seed. Only full precision may have one:
it is the network that all runs start from; a single one of it counts as exact. Intervals are at
95 % each: among many claims some verdicts are chance.

Where a scale gives one method a larger share of its authors' search than another, the times of the
two searches do not compare. A verdict on them has to come out the same for the times as measured
and for the times divided by those shares; if it does not, the claim is too close to call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from scipy import stats

from sbs.errors import SBSError
from sbs.results.collect import SHARE

CONFIDENCE = 0.95

POINTS = ("top1", "top5")
"""Metrics that are compared by difference."""

COLUMNS = {
    "top1": "top1",
    "top5": "top5",
    "bops": "bops",
    "memory": "memory_bytes",
    "search_time": "search_device_hours",
    "search_memory": "search_peak_memory_bytes",
    "latency": "latency_ms",
    "energy": "energy_mj",
}
"""Metric of a claim to the column of the runs, if they have it."""

PUBLISHED = {
    "top1": ("top1",),
    "top5": ("top5",),
    "bops": ("bops_m", "bops_g"),
    "memory": ("memory_kb",),
    "search_time": ("search_gpu_hours",),
    "search_memory": ("gpu_memory_gb",),
    "latency": ("latency_ms",),
    "energy": ("energy_mj",),
}
"""Metric of a claim to its names among the published values."""

UNITS = {
    "top1": (1.0, "%"),
    "top5": (1.0, "%"),
    "bops": (1e6, "M"),
    "memory": (1e3, "KB"),
    "search_time": (1.0, "h"),
    "search_memory": (1e9, "GB"),
    "latency": (1.0, "ms"),
    "energy": (1.0, "mJ"),
}
"""Metric to what its values in the runs are divided by, and the unit that they then have."""

HOLDS, FAILS, CLOSE, NOT_RUN = "holds", "fails", "too close to call", "not run at this scale"

GAIN = " - "
"""Between the two runs of a side that is a gain."""

PAPER_DATASET = "cifar100"

Metric = Literal[
    "top1", "top5", "bops", "memory", "search_time", "search_memory", "latency", "energy"
]
Relation = Literal["less", "more", "at least", "at most"]


class Claim(BaseModel):
    """A sentence of the paper with its test.

    Attributes:
        id: short name.
        claim: the sentence, in our words.
        where: where it stands in the paper.
        statement: a row of ``theory.csv`` that decides it; or else the following.
        left: ``network method [variant]``, or two of them with a minus between: the gain of the
            first over the second, seed by seed.
        right: the same, what ``left`` is compared with.
        metric: what of them.
        relation: ``less`` and ``more`` than ``right``; ``at least`` and ``at most`` ``value``,
            which bounds the difference in points or the ratio of costs, left over right.
        value: for the last two.
        published: table of the published values, and the methods' names there if they differ.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    claim: str
    where: str
    statement: str | None = None
    left: str | None = None
    right: str | None = None
    metric: Metric | None = None
    relation: Relation | None = None
    value: float | None = None
    published: tuple[str, str, str] | None = None

    @model_validator(mode="after")
    def _check(self) -> Claim:
        test = (self.left, self.right, self.metric, self.relation)
        if (self.statement is None) == (None in test):
            raise ValueError("give either statement, or left, right, metric and relation")
        if self.relation is not None and (self.value is None) == self.relation.startswith("at"):
            raise ValueError("'at least' and 'at most' need a value, 'less' and 'more' have none")
        gain = any(side is not None and GAIN in side for side in (self.left, self.right))
        if gain and self.metric not in POINTS:
            raise ValueError(f"a gain is of {' or '.join(POINTS)}")
        return self

    @property
    def bound(self) -> float:
        """What the effect is held against, on the scale of the interval."""
        neutral = 0.0 if self.metric in POINTS else 1.0
        value = neutral if self.value is None else self.value
        return value if self.metric in POINTS else math.log(value)


@dataclass(frozen=True)
class Interval:
    """An effect with its confidence interval, NaN where there is none."""

    effect: float
    low: float
    high: float


def load_claims(path: Path) -> list[Claim]:
    """Read ``claims.yaml``.

    Raises:
        SBSError: a claim is malformed, or there are two of a name.
    """
    content = yaml.safe_load(Path(path).read_text())
    claims = []
    for number, entry in enumerate(content):
        try:
            claims.append(Claim.model_validate(entry))
        except ValidationError as error:
            first = error.errors()[0]
            name = entry.get("id", f"number {number + 1}") if isinstance(entry, dict) else number
            place = ".".join(map(str, first["loc"]))
            raise SBSError(f"{path}, claim {name}: {place} {first['msg']}".strip()) from None
    names = [claim.id for claim in claims]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SBSError(f"{path}: two claims {twice!r}")
    return claims


def judge(
    claims: list[Claim], runs: pd.DataFrame, theory: pd.DataFrame, published: pd.DataFrame
) -> pd.DataFrame:
    """A row a claim: both sides' values and the effect, published and measured, and the verdict.

    Values of the two sides are means over seeds in the units of :data:`UNITS`; the effect is their
    difference in points or, for costs, the ratio of their geometric means.

    Args:
        claims: what the paper says.
        runs: what :func:`sbs.results.collect.collect` gives.
        theory: ``theory.csv``.
        published: the paper's values.
    """
    return pd.DataFrame([_row(claim, runs, theory, published) for claim in claims])


def score(verdicts: pd.DataFrame) -> dict[str, int]:
    """How many claims got each verdict."""
    return {
        name: int((verdicts["verdict"] == name).sum()) for name in (HOLDS, FAILS, CLOSE, NOT_RUN)
    }


def rendering(verdicts: pd.DataFrame, scale: str, dataset: str) -> str:
    """The score and all verdicts as Markdown."""
    counts = ", ".join(f"{count} {name}" for name, count in score(verdicts).items())
    lines = [f"# Claims at the scale `{scale}` (dataset: {dataset})", "", f"{counts}.", ""]
    if dataset != PAPER_DATASET:
        lines += [
            f"Claims about accuracies and costs are judged by runs on **{dataset}**: what comes "
            "out here says little about the paper's datasets.",
            "",
        ]
    shown = pd.DataFrame([cells(row) for _, row in verdicts.iterrows()])
    return "\n".join([*lines, shown.to_markdown(index=False, disable_numparse=True)]) + "\n"


def interval(left: pd.Series, right: pd.Series, metric: str) -> Interval:
    """Difference of means for accuracies, logarithm of the ratio for costs, with Welch's interval.

    A side whose runs all agree, such as the cost of a fixed bitwidth, has no variance.
    """
    if metric not in POINTS:
        left, right = left.map(math.log), right.map(math.log)
    effect = float(left.mean() - right.mean())
    sizes = len(left), len(right)
    if min(sizes) < 2:
        return Interval(effect, math.nan, math.nan)
    parts = [float(side.var(ddof=1)) / len(side) for side in (left, right)]
    error = math.sqrt(sum(parts))
    if error == 0:
        return Interval(effect, effect, effect)
    freedom = sum(parts) ** 2 / sum(
        part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True)
    )
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return Interval(effect, effect - reach, effect + reach)


def verdict(claim: Claim, found: Interval) -> str:
    """Where the interval lies with respect to the claim's bound."""
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
        found = theory[theory["statement"] == claim.statement]
        if len(found) != 1:
            raise SBSError(f"claim {claim.id}: theory.csv has no statement {claim.statement!r}")
        counts = {name: found[name].item() for name in ("cases", "failures")}
        return row | counts | {"verdict": HOLDS if bool(found["holds"].item()) else FAILS}
    assert claim.left is not None
    assert claim.right is not None
    assert claim.metric is not None
    column = COLUMNS[claim.metric]
    sides = [_values(runs, name, column) for name in (claim.left, claim.right)]
    row |= {"left": claim.left, "right": claim.right, "metric": claim.metric}
    row |= {"relation": f"{claim.relation} {'' if claim.value is None else claim.value}".strip()}
    row |= {"unit": UNITS[claim.metric][1]}
    row |= _published(claim, published)
    if not all(len(side) for side in sides):
        return row | {"verdict": NOT_RUN}
    found_interval = interval(sides[0], sides[1], claim.metric)
    shown = (lambda v: v) if claim.metric in POINTS else math.exp
    divisor, _ = UNITS[claim.metric]
    decided = verdict(claim, found_interval)
    if claim.metric == "search_time":
        shares = [_values(runs, name, SHARE) for name in (claim.left, claim.right)]
        row |= {"share_left": float(shares[0].mean()), "share_right": float(shares[1].mean())}
        whole = interval(sides[0] / shares[0], sides[1] / shares[1], claim.metric)
        decided = decided if verdict(claim, whole) == decided else CLOSE
    return row | {
        "measured_left": float(sides[0].mean()) / divisor,
        "measured_right": float(sides[1].mean()) / divisor,
        "measured": shown(found_interval.effect),
        "low": shown(found_interval.low),
        "high": shown(found_interval.high),
        "seeds": min(side.index.nunique() for side in sides),
        "verdict": decided,
    }


def cells(row: pd.Series) -> dict[str, str]:
    """What a reader sees of a row of :func:`judge`."""
    # Costs near a target differ in the third decimal.
    digits = 2 if row.get("metric") in POINTS else 3
    interval = ""
    if _known(row.get("measured")):
        ends = (f"{row[end]:.{digits}f}" for end in ("low", "high"))
        interval = " to ".join(ends) if _known(row["low"]) else "one seed"
    values = _sides(row, "measured")
    if _known(row.get("cases")):
        values = f"{row['failures']:.0f} of {row['cases']:.0f} cases fail"
    if _known(row.get("share_left")):
        shares = (f"{100 * row[f'share_{side}']:.1f}" for side in ("left", "right"))
        values += f", {' : '.join(shares)} % of the authors'"
    return {
        "claim": str(row["claim"]),
        "verdict": str(row["verdict"]),
        "published": _number(row.get("published"), digits),
        "measured": _number(row.get("measured"), digits),
        "95 % interval": interval,
        "published values": _sides(row, "published"),
        "measured values": values,
        "where": str(row["where"]),
    }


def _sides(row: pd.Series, source: str) -> str:
    left, right = row.get(f"{source}_left"), row.get(f"{source}_right")
    return f"{left:.4g} : {right:.4g} {row['unit']}" if _known(left) and _known(right) else ""


def _number(value: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" if _known(value) else ""


def _known(value: float | None) -> bool:
    return value is not None and not pd.isna(value)


def _values(runs: pd.DataFrame, name: str, column: str) -> pd.Series:
    """A column of a claim's side, by seed; what no run has recorded is empty."""
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
    exact = method == "fp" and len(values) == 1
    return pd.concat([values, values]) if exact else values


def _published(claim: Claim, published: pd.DataFrame) -> dict[str, float]:
    """The paper's own values and effect, as its printed numbers give them."""
    if claim.published is None or claim.left is None or claim.metric is None:
        return {}
    table, left, right = claim.published
    network = claim.left.split()[0].replace("mobilenet_v", "mobilenetv")
    rows = published[
        (published["table"] == table)
        & (published["network"] == network)
        & published["metric"].isin(PUBLISHED[claim.metric])
    ]
    # Of the two units that the paper prints BOPs in, the larger.
    scaled = rows["value"].where(rows["metric"] != "bops_g", 1000 * rows["value"])
    found = scaled.set_axis(rows["method"])
    if left not in found or right not in found:
        raise SBSError(f"claim {claim.id}: no published {claim.metric} of {left} and {right}")
    points = claim.metric in POINTS
    return {
        "published_left": float(found[left]),
        "published_right": float(found[right]),
        "published": round(float(found[left] - found[right]), 6)
        if points
        else float(found[left] / found[right]),
    }
