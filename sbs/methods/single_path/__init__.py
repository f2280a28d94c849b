"""Single-path bit sharing: SBS, SBS-Q (without pruning) and SBS-P (without quantization)."""

from __future__ import annotations

from sbs.methods.multipath import MULTIPATH, MultipathSettings
from sbs.policy import FULL_PRECISION
from sbs.registry.methods import Method, Settings

AUTHORS_EPOCHS = 30
"""Epochs of a search on CIFAR-100 (section 4.2)."""


def search_share(settings: Settings) -> float:
    """Epochs of the search divided by the authors' epochs."""
    return float(settings["search"]["epochs"] / AUTHORS_EPOCHS)


def trained_epochs(settings: Settings) -> float:
    """Epochs of the search; without bit sharing, the share of the images that trains weights."""
    search, sharing = settings["search"], settings["search"]["bit_sharing"]
    share = 1.0 if sharing else settings[MULTIPATH]["weight_share"]
    return float(search["epochs"] * share)


def lowest_bits(settings: Settings) -> int:
    """The lowest candidate bitwidth."""
    return int(settings["search"]["bitwidths"][0])


METHODS = (
    Method(
        name="sbs_p",
        label="SBS-P",
        order=500,
        search=f"{__name__}.search:search",
        options={"quantize": False, "prune": True},
        filters=True,
        quantizes=False,
        lowest_bits=lambda settings: FULL_PRECISION,
        search_share=search_share,
        trained_epochs=trained_epochs,
    ),
    Method(
        name="sbs_q",
        label="SBS-Q",
        order=600,
        search=f"{__name__}.sbs_q:search",
        bits=True,
        sections={MULTIPATH: MultipathSettings},
        without_sharing=("sbs_q_without_sharing", "SBS-Q without bit sharing"),
        needed=lambda search: frozenset() if search["bit_sharing"] else frozenset({MULTIPATH}),
        lowest_bits=lowest_bits,
        search_share=search_share,
        trained_epochs=trained_epochs,
    ),
    Method(
        name="sbs",
        label="SBS",
        order=700,
        search=f"{__name__}.search:search",
        options={"quantize": True, "prune": True},
        bits=True,
        filters=True,
        lowest_bits=lowest_bits,
        search_share=search_share,
        trained_epochs=trained_epochs,
    ),
    # Controls: the same searches, but the loss does not move their thresholds, only the cost does.
    Method(
        name="cost-only-q",
        label="SBS-Q, by cost only",
        order=650,
        search=f"{__name__}.search:search",
        options={"quantize": True, "prune": False, "loss_aware": False},
        bits=True,
        lowest_bits=lowest_bits,
        search_share=search_share,
        trained_epochs=trained_epochs,
    ),
    Method(
        name="cost-only",
        label="SBS, by cost only",
        order=750,
        search=f"{__name__}.search:search",
        options={"quantize": True, "prune": True, "loss_aware": False},
        bits=True,
        filters=True,
        lowest_bits=lowest_bits,
        search_share=search_share,
        trained_epochs=trained_epochs,
    ),
)
