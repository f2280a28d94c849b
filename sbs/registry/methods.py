"""What the rest of the project needs to know of a compression method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

from pydantic import BaseModel

from sbs.errors import SBSError
from sbs.policy import FULL_PRECISION
from sbs.registry.discovery import Registry, Room, imported

Settings = Mapping[str, Any]
"""Sections of a scale that a stage gets, as in a run record."""


def all_sections(settings: Settings) -> frozenset[str] | None:
    """None: the method needs all of its sections."""
    return None


@dataclass(frozen=True)
class Method:
    """A compression method. The module that registers it must not import PyTorch at its top level.

    Attributes:
        name: what the experiments sheet and file names call it.
        label: what people call it.
        order: position in tables, ascending.
        search: ``module:function`` of ``(SearchContext, **options) -> SearchResult``; None for
            full precision, which is pretrained and not searched.
        options: what ``search`` gets besides the context.
        bits: it chooses bitwidths.
        filters: it chooses filters to keep.
        quantizes: its networks have quantized weights.
        quantizer: name of the quantizer of its networks.
        sections: settings sections of its own, by name.
        needed: names of those that a run needs, given its ``search`` section.
        lowest_bits: smallest bitwidth that it may give a layer, given the settings of a search.
        lands: its search is steered to ``search.target`` in ``search.resource``.
        search_share: training that its search does over that of its authors' search, given the
            settings of a search; None if it does not train.
        own_start: fine-tuning starts from the searched weights whatever ``finetune.start`` says.
        without_sharing: name and label of its row in a table where ``search.bit_sharing`` is
            false; the name is that of the published values.
        family: methods of one family are one line in a figure; by default the label.
    """

    name: str
    label: str
    order: int
    search: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    bits: bool = False
    filters: bool = False
    quantizes: bool = True
    quantizer: str = "interval"
    sections: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    needed: Callable[[Settings], frozenset[str] | None] = all_sections
    lowest_bits: Callable[[Settings], int] = lambda settings: FULL_PRECISION
    lands: bool = True
    search_share: Callable[[Settings], float] | None = None
    own_start: bool = False
    without_sharing: tuple[str, str] | None = None
    family: str = ""

    @property
    def module(self) -> str:
        """Dotted name of the module with its search, for the digest of its code."""
        assert self.search is not None
        return self.search.partition(":")[0]

    @property
    def line(self) -> str:
        """Name of its line in a figure."""
        return self.family or self.label

    def needed_sections(self, search: Settings) -> list[str]:
        """Names of its own sections that a run needs.

        Args:
            search: the ``search`` section of the scale.
        """
        needed = self.needed(search)
        return [name for name in self.sections if needed is None or name in needed]

    def load(self) -> Callable[..., Any]:
        """Import the search: a function of the context alone."""
        assert self.search is not None
        module, _, function = self.search.partition(":")
        return partial(getattr(import_module(module), function), **self.options)


ROOM = Room("method", "methods", "METHODS")
METHODS: Registry[Method] = Registry(ROOM, imported(ROOM))

method = METHODS.named


def methods() -> Mapping[str, Method]:
    """All methods by name, in the order of the tables."""
    found = sorted(METHODS.all().values(), key=lambda one: (one.order, one.name))
    return {one.name: one for one in found}


def searched(name: str) -> Method:
    """The method of a name that a row of the experiments sheet may have.

    Raises:
        SBSError: nobody registered it, or it searches nothing.
    """
    if method(name).search is None:
        raise SBSError(f"method {name!r} has no search, so no row of the sheet runs it")
    return method(name)


def searching_methods() -> list[str]:
    """Names that a row of the experiments sheet may have."""
    return [one.name for one in methods().values() if one.search is not None]


def section_types() -> Mapping[str, type[BaseModel]]:
    """Settings sections of all methods."""
    return {name: kind for one in methods().values() for name, kind in one.sections.items()}
