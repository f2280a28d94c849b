"""The paper's claims: ``config/claims.yaml``. :mod:`sbs.results.verdicts` judges them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sbs.errors import SBSError
from sbs.results.quantities import QUANTITIES, Quantity

GAIN = " - "
"""Separates the two runs of a side that is a gain."""

Relation = Literal["less", "more", "at least", "at most"]

PAPER, STATEMENT, OWN = (
    "of the paper, about runs",
    "of the paper, by calculation",
    "of this project",
)
KINDS = (PAPER, STATEMENT, OWN)
"""Kinds of claims, which are counted apart."""


class Claim(BaseModel):
    """A claim of the paper, with its test.

    Attributes:
        id: short name.
        claim: the claim, in our words.
        where: its place in the paper.
        statement: a row of ``theory.csv`` that decides the claim; otherwise the fields below do.
        left: ``network method [variant]``, a row of the sheet. Or two of them with a minus between:
            the gain of the first over the second, seed by seed.
        right: the other side of the comparison, in the same form.
        metric: what is compared, one of :data:`sbs.results.quantities.QUANTITIES`.
        relation: ``less`` or ``more`` than ``right``; or ``at least`` or ``at most`` ``value``,
            which bounds the difference in points, or the ratio of costs (left divided by right).
        value: bound for ``at least`` and ``at most``.
        published: table of the published values, and the names of the two rows in it.
        shown: without published values, the notebook whose table or figure shows the comparison.
        own: whether it is a control of this project, or a comparison that the paper does not make.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    claim: str
    where: str
    statement: str | None = None
    left: str | None = None
    right: str | None = None
    metric: str | None = None
    relation: Relation | None = None
    value: float | None = None
    published: tuple[str, str, str] | None = None
    shown: str | None = None
    own: bool = False

    @model_validator(mode="after")
    def _check(self) -> Claim:
        test = (self.left, self.right, self.metric, self.relation)
        if (self.statement is None) == (None in test):
            raise ValueError("give either statement, or left, right, metric and relation")
        if self.relation is not None and (self.value is None) == self.relation.startswith("at"):
            raise ValueError("'at least' and 'at most' need a value; 'less' and 'more' must not")
        if self.metric is not None:
            self._check_metric()
        if self.left is not None and (self.published is None) == (self.shown is None):
            raise ValueError("a claim about runs needs either published or shown")
        return self

    def _check_metric(self) -> None:
        if self.metric not in QUANTITIES:
            raise ValueError(f"unknown metric {self.metric!r}; known are {', '.join(QUANTITIES)}")
        gain = any(side is not None and GAIN in side for side in (self.left, self.right))
        if gain and not self.quantity.points:
            accuracies = [name for name, quantity in QUANTITIES.items() if quantity.points]
            raise ValueError(f"a gain needs the metric {' or '.join(accuracies)}")

    @property
    def exhibit(self) -> str | None:
        """The table or figure that the claim is about; None for a statement."""
        return self.shown if self.published is None else self.published[0]

    @property
    def kind(self) -> str:
        """One of :data:`KINDS`."""
        if self.own:
            return OWN
        return PAPER if self.statement is None else STATEMENT

    @property
    def quantity(self) -> Quantity:
        """The compared quantity."""
        assert self.metric is not None
        return QUANTITIES[self.metric]

    @property
    def bound(self) -> float:
        """The value that the effect is compared with, on the scale of the interval."""
        if self.quantity.points:
            return 0.0 if self.value is None else self.value
        return math.log(1.0 if self.value is None else self.value)


def load_claims(path: Path) -> list[Claim]:
    """Read ``claims.yaml``.

    Raises:
        SBSError: a claim is malformed, or two claims have the same name.
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
