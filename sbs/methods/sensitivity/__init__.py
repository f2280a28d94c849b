"""A control that measures what each gate is worth, one by one, instead of learning all at once."""

from __future__ import annotations

from pydantic import Field

from sbs.config.settings import Section
from sbs.registry.methods import Method, Settings, Workload

SENSITIVITY = "sensitivity"
PASSES = 3
"""A training step costs about three forward passes; measuring a loss costs one."""


class SensitivitySettings(Section):
    """How the worth of a bitwidth is measured."""

    base_epochs: int = Field(ge=0, description="Training with the same bits everywhere.")
    steps: int = Field(ge=1, description="Further training steps with one tensor at fewer bits.")
    learning_rate: float = Field(gt=0, description="Of both; a cosine to zero each time.")
    images: int = Field(ge=1, description="Training images that only the loss is measured on.")


def effort(settings: Settings, workload: Workload) -> float:
    """Images of all trainings: one per bitwidth above the lowest, and then one per tensor."""
    search, own = settings["search"], settings[SENSITIVITY]
    tensors = 2 * (workload.layers - 2)
    short = (1 + tensors) * (own["steps"] * search["batch_size"] + own["images"] / PASSES)
    bitwidths = len(search["bitwidths"]) - 1
    return float(bitwidths * (own["base_epochs"] * workload.images + short))


METHODS = (
    Method(
        name=SENSITIVITY,
        label="Bits by sensitivity",
        order=160,
        search=f"{__name__}.search:search",
        bits=True,
        sections={SENSITIVITY: SensitivitySettings},
        lowest_bits=lambda settings: int(settings["search"]["bitwidths"][0]),
        effort=effort,
    ),
)
