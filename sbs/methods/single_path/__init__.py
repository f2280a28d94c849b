"""Single-path bit sharing: SBS, SBS-Q (without pruning) and SBS-P (without quantization)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sbs.config.settings import Section
from sbs.methods.multipath import MULTIPATH, MultipathSettings
from sbs.methods.multipath import effort as effort_of_paths
from sbs.policy import FULL_PRECISION
from sbs.registry.methods import Method, Settings, Workload

TWO_STAGE = "two_stage"
AUTHORS_EPOCHS = 30
"""Epochs of a search on CIFAR-100 (section 4.2)."""

STEP = 1.07
"""Time of a search step over that of plain training (results/measured/benchmarks)."""


class TwoStageSettings(Section):
    """How a search in two stages is split; the paper says nothing about it."""

    pruning_factor: float = Field(
        gt=0,
        lt=1,
        description="Share of the cost that is to be left by pruning; bitwidths do the rest.",
    )
    first_share: float = Field(gt=0, lt=1, description="Share of the first of the two searches.")
    finetune_epochs: int = Field(ge=0, description="Epochs of search.epochs between the two.")


def search_share(settings: Settings) -> float:
    """Epochs of the search divided by the authors' epochs."""
    return float(settings["search"]["epochs"] / AUTHORS_EPOCHS)


def trained_epochs(settings: Settings) -> float:
    """Epochs of the search; without bit sharing, the share of the images that trains weights."""
    search, sharing = settings["search"], settings["search"]["bit_sharing"]
    share = 1.0 if sharing else settings[MULTIPATH]["weight_share"]
    return float(search["epochs"] * share)


def effort(settings: Settings, workload: Workload) -> float:
    """All training images, with a little more for the gates; without bit sharing, for each path."""
    if not settings["search"].get("bit_sharing", True):
        return effort_of_paths(settings, workload)
    return float(settings["search"]["epochs"] * workload.images * STEP)


def lowest_bits(settings: Settings) -> int:
    """The lowest candidate bitwidth."""
    return int(settings["search"]["bitwidths"][0])


def _method(
    name: str, label: str, order: int, *, quantize: bool, prune: bool, **more: Any
) -> Method:
    facts: dict[str, Any] = {
        "search": f"{__name__}.search:search",
        "options": {"quantize": quantize, "prune": prune},
        "lowest_bits": lowest_bits if quantize else lambda settings: FULL_PRECISION,
        "search_share": search_share,
        "trained_epochs": trained_epochs,
        "effort": effort,
    }
    facts |= {"bits": quantize, "filters": prune, "quantizes": quantize}
    return Method(name, label, order, **facts | more)


def _by_cost_only(name: str, label: str, order: int, *, prune: bool) -> Method:
    """A control: the loss does not move the thresholds, only the cost does."""
    options = {"quantize": True, "prune": prune, "loss_aware": False}
    return _method(name, label, order, quantize=True, prune=prune, options=options)


METHODS = (
    _method("sbs_p", "SBS-P", 500, quantize=False, prune=True),
    _method(
        "sbs_q",
        "SBS-Q",
        600,
        quantize=True,
        prune=False,
        search=f"{__name__}.sbs_q:search",
        options={},
        sections={MULTIPATH: MultipathSettings},
        without_sharing=("sbs_q_without_sharing", "SBS-Q without bit sharing"),
        needed=lambda search: frozenset() if search["bit_sharing"] else frozenset({MULTIPATH}),
    ),
    _by_cost_only("cost-only-q", "SBS-Q, by cost only", 650, prune=False),
    _method(
        "sbs",
        "SBS",
        700,
        quantize=True,
        prune=True,
        search=f"{__name__}.sbs:search",
        options={},
        sections={TWO_STAGE: TwoStageSettings},
        needed=lambda search: frozenset() if search["stages"] == "one" else frozenset({TWO_STAGE}),
    ),
    _by_cost_only("cost-only", "SBS, by cost only", 750, prune=True),
)
