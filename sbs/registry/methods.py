"""Registered compression methods."""

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
"""Sections of a scale that a stage uses, as in a run record."""


def all_sections(settings: Settings) -> frozenset[str] | None:
    """Default of :attr:`Method.needed`: None means that a run needs all sections of the method."""
    return None


@dataclass(frozen=True)
class Workload:
    """What the effort of a search depends on besides its settings.

    Attributes:
        images: number of training images.
        layers: number of convolutions and linear layers of the network.
    """

    images: int
    layers: int


@dataclass(frozen=True)
class Method:
    """A compression method. The module that registers it must not import PyTorch at its top level.

    Attributes:
        name: name in the experiments sheet and in file names.
        label: name for people.
        order: position in tables, ascending.
        search: ``module:function`` of ``(SearchContext, **options) -> SearchResult``; None for
            full precision, which is pretrained and not searched.
        options: further arguments of ``search``.
        bits: whether it chooses bitwidths.
        filters: whether it chooses the filters to keep.
        quantizes: whether its networks have quantized weights.
        quantizer: name of the quantizer of its networks.
        sections: its own settings sections, by name.
        needed: from the ``search`` section of a run, the names of the own sections it needs.
        lowest_bits: from the settings of a search, the lowest bitwidth that a layer can get.
        lands: whether the search aims at a cost of ``search.target`` in ``search.resource``.
        search_share: from the settings of a search, its training effort divided by that of the
            authors' search; None if the search does not train.
        trained_epochs: from the settings of a search, the epochs that it trains the weights that
            fine-tuning can start from; None if it trains none.
        effort: from the settings of a search and its workload, the number of images that plain
            training goes through in the same time, for ``make plan``. None: ``search.epochs`` of
            all images if one of the two fields above is given, else nothing.
        finetunes: whether the weights are trained at the policy's bitwidths after the search.
        own_start: whether fine-tuning always starts from the searched weights; ``finetune.start``
            is then ignored.
        without_sharing: name and label of its table row where ``search.bit_sharing`` is false;
            the name is that of the published values.
        pools_variants: whether a table row holds all variants together, as draws of one lottery.
        family: methods of one family share one line in a figure; by default the label.
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
    trained_epochs: Callable[[Settings], float] | None = None
    effort: Callable[[Settings, Workload], float] | None = None
    finetunes: bool = True
    own_start: bool = False
    without_sharing: tuple[str, str] | None = None
    pools_variants: bool = False
    family: str = ""

    @property
    def module(self) -> str:
        """Dotted name of the module with the search, for the digest of the code."""
        assert self.search is not None
        return self.search.partition(":")[0]

    @property
    def line(self) -> str:
        """Name of the method's line in a figure."""
        return self.family or self.label

    def needed_sections(self, search: Settings) -> list[str]:
        """Names of the own sections that a run needs.

        Args:
            search: the ``search`` section of the scale.
        """
        needed = self.needed(search)
        return [name for name in self.sections if needed is None or name in needed]

    def search_effort(self, settings: Settings, workload: Workload) -> float:
        """Number of images that plain training goes through in the time of a search.

        Args:
            settings: the settings of the search.
            workload: training images and layers.
        """
        if self.effort is not None:
            return self.effort(settings, workload)
        trains = self.search_share is not None or self.trained_epochs is not None
        return float(settings["search"]["epochs"] * workload.images) if trains else 0.0

    def finetune_epochs(self, finetune: Settings) -> int:
        """Epochs of fine-tuning.

        Args:
            finetune: the ``finetune`` section of the scale.
        """
        if not self.finetunes:
            return 0
        searched = self.own_start or finetune["start"] == "searched"
        trained = searched and self.trained_epochs is not None
        return int(finetune["epochs" if trained else "epochs_without_search"])

    def load(self) -> Callable[..., Any]:
        """Import the search and bind its options: a function with one argument, the context."""
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
    """The method with this name, which a row of the experiments sheet runs.

    Raises:
        SBSError: the name is not registered, or the method has no search.
    """
    if method(name).search is None:
        raise SBSError(f"method {name!r} has no search, so a row of the sheet cannot run it")
    return method(name)


def searching_methods() -> list[str]:
    """Method names that are allowed in the experiments sheet."""
    return [one.name for one in methods().values() if one.search is not None]


def section_types() -> Mapping[str, type[BaseModel]]:
    """Settings sections of all methods."""
    return {name: kind for one in methods().values() for name, kind in one.sections.items()}
