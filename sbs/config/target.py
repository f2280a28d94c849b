"""Cost targets as text: ``4-bit``, ``0.95 x 4-bit``, ``0.7 x full``, ``630.6e6``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sbs.errors import SBSError
from sbs.policy import FULL_PRECISION

_FORM = re.compile(r"^(?:(?P<factor>[0-9.]+)\s*[x*×]\s*)?(?:(?P<bits>\d+)-bit|(?P<full>full))$")


@dataclass(frozen=True)
class Target:
    """A cost: ``factor`` times that of a reference network, or ``factor`` itself.

    Attributes:
        factor: multiplier, or the absolute cost if there is no reference.
        reference_bits: bitwidth of the fixed-precision reference (32: full precision), or None.
    """

    factor: float
    reference_bits: int | None


def parse_target(text: str) -> Target:
    """Read a target.

    Raises:
        SBSError: the text has none of the known forms, or the cost is not positive.
    """
    text = str(text).strip()
    match = _FORM.match(text)
    try:
        if match is None:
            target = Target(float(text), None)
        else:
            bits = FULL_PRECISION if match["full"] else int(match["bits"])
            target = Target(float(match["factor"] or 1), bits)
    except ValueError:
        raise SBSError(
            f"target {text!r}: write '4-bit', '0.95 x 4-bit', '0.7 x full' or a number"
        ) from None
    if not target.factor > 0 or target.reference_bits == 0:
        raise SBSError(f"target {text!r}: a cost must be positive")
    return target
