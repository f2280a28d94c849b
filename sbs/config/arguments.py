"""Plain arguments of the functions of the package, which are checked like settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sbs.config.settings import Section
from sbs.policy import FULL_PRECISION


class Candidates(Section):
    """What a search chooses from."""

    bitwidths: tuple[Annotated[int, Field(ge=1, lt=FULL_PRECISION)], ...]
    group_size: int = Field(ge=1)
