"""Random bitwidths of which the network costs at most the target: a control for every search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from sbs.config.settings import Section
from sbs.errors import SBSError
from sbs.registry.methods import Method

if TYPE_CHECKING:
    from sbs.methods.context import SearchContext, SearchResult


class RandomSettings(Section):
    """How long to draw."""

    tries: int = Field(ge=1, description="Policies to draw at most.")


METHODS = (
    Method(
        name="random_bits",
        label="Random bits",
        order=150,
        search=f"{__name__}:search",
        bits=True,
        sections={"random_bits": RandomSettings},
        lowest_bits=lambda settings: settings["search"]["bitwidths"][0],
    ),
)


def search(context: SearchContext) -> SearchResult:
    """Draw policies until one fits."""
    import random

    from sbs.methods.context import SearchResult
    from sbs.policy import LayerPolicy, uniform_policy
    from sbs.surgery.networks import plain_state

    names, target = context.layer_names, context.target_cost()
    cost_of, draw = context.exact_cost(), random.Random(context.seed)
    policy = uniform_policy(context.spec.name, names, context.settings.bitwidths.lowest)
    for _ in range(context.section(RandomSettings).tries):
        layers = dict(policy.layers)
        for name in names[1:-1]:
            weight, activation = (draw.choice(context.settings.bitwidths) for _ in range(2))
            layers[name] = LayerPolicy(weight_bits=weight, activation_bits=activation)
        drawn = policy.model_copy(update={"layers": layers})
        if target is None or cost_of(drawn) <= target:
            return SearchResult(drawn, plain_state(context.model), target)
    raise SBSError("random_bits.tries: no policy within the target; give more tries")
