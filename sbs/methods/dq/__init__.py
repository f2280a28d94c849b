"""DQ (Uhlich et al. 2020): learns step sizes and ranges together with the weights."""

from __future__ import annotations

from pydantic import Field

from sbs.config.settings import TrainSettings
from sbs.registry.methods import Method

DQ = "dq"
AUTHORS_EPOCHS = 160


class DQSettings(TrainSettings):
    """DQ's single stage of training, instead of search and fine-tuning."""

    start_bits: int = Field(ge=2, le=8, description="Initial bitwidth of all tensors.")
    weight_penalty: float = Field(ge=0, description="λ of the weights' size, in KB squared.")
    activation_penalty: float = Field(ge=0, description="λ of the activations' size.")
    quantizer_rate: float = Field(gt=0, description="Learning-rate factor of steps and ranges.")
    margin: float = Field(ge=0, lt=1, description="Margin below the size limit, as a share of it.")


METHODS = (
    Method(
        name="dq",
        label="DQ",
        order=200,
        search=f"{__name__}.search:search",
        bits=True,
        quantizer="dq",
        sections={DQ: DQSettings},
        # It constrains the memory of weights and of activations; search.resource has no effect.
        lands=False,
        search_share=lambda settings: float(settings[DQ]["epochs"] / AUTHORS_EPOCHS),
        trained_epochs=lambda settings: float(settings[DQ]["epochs"]),
        effort=lambda settings, workload: float(settings[DQ]["epochs"] * workload.images),
        finetunes=False,
        own_start=True,
    ),
)
