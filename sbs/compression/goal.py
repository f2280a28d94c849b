"""Targets of one call: a cost, and what it is a cost in."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sbs.config.target import Target
from sbs.errors import SBSError
from sbs.registry.costs import cost_model

NAMES = {"latency": "bitfusion-latency", "energy": "bitfusion-energy"}
"""Short names of cost models."""

UNITS = {
    "": 1.0,
    **{"B": 1.0, "KB": 1e3, "MB": 1e6, "KiB": 2.0**10, "MiB": 2.0**20},
    **{"s": 1.0, "ms": 1e-3, "us": 1e-6, "J": 1.0, "mJ": 1e-3, "uJ": 1e-6},
    **{"M": 1e6, "G": 1e9, "MBOPs": 1e6, "GBOPs": 1e9},
}
"""Units of numbers: bytes, seconds, joules and bit operations."""

_NUMBER = re.compile(r"^(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(?P<unit>[A-Za-z]*)$")


@dataclass(frozen=True)
class Goal:
    """What a compression aims at.

    Attributes:
        resource: name of the cost model.
        target: the cost.
        words: the cost as the caller wrote it, with its unit.
    """

    resource: str
    target: Target
    words: str

    @classmethod
    def parse(cls, value: str | float) -> Goal:
        """Read a target.

        Args:
            value: ``"4-bit"``: the cost of the network with 4 bits everywhere; a number up to 1:
                that share of the cost at full precision; a larger number, or ``"630.6 M"``: the
                cost itself. All in bit operations, unless the name of a cost model comes before:
                ``"memory: 200 KB"``, ``"latency: 20 ms"``, ``"table:FILE: 0.8 x 8-bit"``.

        Raises:
            SBSError: the value has none of these forms, or no cost model has this name.
        """
        name, colon, rest = str(value).rpartition(": ")
        resource = NAMES.get(name.strip(), name.strip()) if colon else "bops"
        cost_model(resource)
        target = _target(rest.strip(), str(value))
        return cls(resource, target, target.text if target.reference_bits else rest.strip())

    def __str__(self) -> str:
        return f"{self.resource}: {self.words}"


def _target(text: str, whole: str) -> Target:
    match = _NUMBER.match(text)
    if match is None:
        try:
            return Target.parse(text)
        except SBSError as error:
            raise SBSError(
                f"target {whole!r}: write for example '4-bit', 0.1, '630.6 M' or 'memory: 200 KB'"
            ) from error
    if match["unit"] not in UNITS:
        raise SBSError(f"target {whole!r}: use one of the units {', '.join(filter(None, UNITS))}")
    number = float(match["number"])
    if not match["unit"] and number <= 1:
        return Target.parse(f"{number} x full")
    return Target.parse(number * UNITS[match["unit"]])
