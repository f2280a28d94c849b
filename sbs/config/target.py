"""Cost targets as text: ``4-bit``, ``0.95 x 4-bit``, ``0.7 x full``, ``630.6e6``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from sbs.errors import SBSError
from sbs.policy import FULL_PRECISION

_FORM = re.compile(r"^(?:(?P<factor>[0-9.]+)\s*[x*×]\s*)?(?:(?P<bits>\d+)-bit|(?P<full>full))$")


@dataclass(frozen=True)
class Target:
    """A cost: ``factor`` times the cost of a reference network, or ``factor`` itself.

    A field of a settings class can have this type; it is saved as its text.

    Attributes:
        text: the target as it was written.
        factor: multiplier, or the absolute cost if there is no reference.
        reference_bits: bitwidth of the uniform reference network (32: full precision), or None.
    """

    text: str
    factor: float
    reference_bits: int | None

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, value: object) -> Target:
        """Parse a target.

        Raises:
            SBSError: the text has an unknown form, or the cost is not positive and finite.
        """
        text = str(value).strip()
        match = _FORM.match(text)
        try:
            if match is None:
                target = cls(text, float(text), None)
            else:
                bits = FULL_PRECISION if match["full"] else int(match["bits"])
                target = cls(text, float(match["factor"] or 1), bits)
        except ValueError:
            raise SBSError(
                f"target {text!r}: write '4-bit', '0.95 x 4-bit', '0.7 x full' or a number"
            ) from None
        if not 0 < target.factor < math.inf or target.reference_bits == 0:
            raise SBSError(f"target {text!r}: a cost must be positive and finite")
        return target

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Parse the value when settings are loaded."""
        return core_schema.no_info_plain_validator_function(
            cls._validated, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Text or a number in a scale file."""
        return {"type": ["string", "number"]}

    @classmethod
    def _validated(cls, value: object) -> Target:
        if isinstance(value, cls):
            return value
        try:
            return cls.parse(value)
        except SBSError as error:
            raise ValueError(str(error)) from error
