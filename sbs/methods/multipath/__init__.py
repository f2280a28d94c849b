"""DNAS, a multi-path search (Wu et al. 2018), with DoReFa-Net's weights and PACT's activations."""

from __future__ import annotations

from pydantic import Field

from sbs.config.settings import Section
from sbs.registry.methods import Method, Settings, Workload

MULTIPATH = "multipath"
AUTHORS_EPOCHS = 90
"""The paper of DNAS gives a number that no public code confirms. Public code of the FBNet family,
which does the same search, uses 90 epochs."""


class MultipathSettings(Section):
    """Multi-path search, of DNAS and of the search without bit sharing."""

    weight_share: float = Field(
        gt=0, lt=1, description="Share of the training images for weights; the rest is for logits."
    )
    warmup: float = Field(ge=0, lt=1, description="Share of the epochs before the logits learn.")
    logit_learning_rate: float = Field(gt=0, description="Adam's learning rate for the logits.")
    logit_weight_decay: float = Field(ge=0, description="Weight decay of the logits.")
    first_temperature: float = Field(gt=0, description="First temperature of the Gumbel softmax.")
    last_temperature: float = Field(gt=0, description="Last temperature; the decay is exponential.")
    samples: int = Field(ge=1, description="Policies to sample; the best one is the result.")


def effort(settings: Settings, workload: Workload) -> float:
    """All training images, times the number of paths: a step computes every path."""
    search = settings["search"]
    return float(search["epochs"] * workload.images * len(search["bitwidths"]))


METHODS = (
    Method(
        name="dnas",
        label="DNAS",
        order=400,
        search=f"{__name__}.search:search",
        bits=True,
        quantizer="dorefa_pact",
        sections={MULTIPATH: MultipathSettings},
        lowest_bits=lambda settings: int(settings["search"]["bitwidths"][0]),
        search_share=lambda settings: float(settings["search"]["epochs"] / AUTHORS_EPOCHS),
        trained_epochs=lambda settings: float(
            settings["search"]["epochs"] * settings[MULTIPATH]["weight_share"]
        ),
        effort=effort,
    ),
)
