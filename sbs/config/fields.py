"""Types of settings that are checked when a scale file is read: known names, distinct values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeAlias, TypeVar

from pydantic import AfterValidator, Field

from sbs.errors import SBSError
from sbs.registry.costs import cost_model
from sbs.registry.datasets import dataset
from sbs.registry.networks import network

T = TypeVar("T")


def registered(find: Callable[[str], object]) -> AfterValidator:
    """Validator of a name that ``find`` must know."""

    def check(name: str) -> str:
        try:
            find(name)
        except SBSError as error:
            raise ValueError(str(error)) from error
        return name

    return AfterValidator(check)


def distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """Refuse a value that stands twice."""
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice!r} stands twice; remove one of them")
    return values


NetworkName: TypeAlias = Annotated[str, registered(network)]
Networks: TypeAlias = Annotated[tuple[NetworkName, ...], AfterValidator(distinct)]
Seeds: TypeAlias = Annotated[tuple[Annotated[int, Field(ge=0)], ...], AfterValidator(distinct)]
DatasetName: TypeAlias = Annotated[str, registered(dataset)]
CostName: TypeAlias = Annotated[str, registered(cost_model)]
