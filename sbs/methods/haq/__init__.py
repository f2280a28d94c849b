"""HAQ (Wang et al. 2019): bitwidths by reinforcement learning."""

from __future__ import annotations

from pydantic import Field, model_validator

from sbs.config.settings import Section
from sbs.registry.methods import Method, Settings, Workload

HAQ = "haq"
UPDATE = 6
"""An update of the agent takes about as long as training on so many images."""

AUTHORS_IMAGES = 600 * 20_000
"""In each of 600 episodes the authors fine-tune on 20,000 images."""


class HAQSettings(Section):
    """HAQ's episodes."""

    episodes: int = Field(ge=1, description="Number of policies that the agent proposes.")
    warmup_episodes: int = Field(ge=0, description="First episodes: random actions, no learning.")
    images: int = Field(ge=1, description="Training images per fine-tuning of a policy.")
    learning_rate: float = Field(gt=0, description="Learning rate of this fine-tuning.")
    lowest_bits: int = Field(ge=2, description="Lowest bitwidth of weights and activations.")
    highest_bits: int = Field(le=8, description="Highest bitwidth of weights and activations.")

    @model_validator(mode="after")
    def _check(self) -> HAQSettings:
        if self.lowest_bits > self.highest_bits:
            raise ValueError("lowest_bits is above highest_bits; swap them")
        return self


def effort(settings: Settings, workload: Workload) -> float:
    """Training images of all episodes, and the updates of the agent: two per searched layer."""
    own = settings[HAQ]
    return float(own["episodes"] * (own["images"] + 2 * (workload.layers - 2) * UPDATE))


def search_share(settings: Settings) -> float:
    """Number of training images of all episodes, divided by the authors' number."""
    return float(settings[HAQ]["episodes"] * settings[HAQ]["images"] / AUTHORS_IMAGES)


METHODS = (
    Method(
        name="haq",
        label="HAQ",
        order=300,
        search=f"{__name__}.search:search",
        bits=True,
        quantizer="linear",
        sections={HAQ: HAQSettings},
        lowest_bits=lambda settings: int(settings[HAQ]["lowest_bits"]),
        search_share=search_share,
        effort=effort,
        # The search does not change the weights; it finds the ranges of the quantizers.
        own_start=True,
    ),
)
