"""Random bitwidths in the target's band: what any search of bitwidths has to beat."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from sbs.config.settings import Section
from sbs.errors import SBSError
from sbs.policy import ENDS_BITS
from sbs.registry.costs import cost_model
from sbs.registry.methods import Method

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from sbs.methods.context import SearchContext, SearchResult
    from sbs.policy import Policy

RANDOM = "random"

LARGEST_TILT, BISECTIONS = 20.0, 60

TRIES = 10_000
"""Maximum number of draws until one lies in the band."""


class RandomSettings(Section):
    """Which of the random policies of a seed."""

    draw: int = Field(ge=0, description="Number of the policy; each gives another one.")


METHODS = (
    Method(
        name=RANDOM,
        label="Random bits",
        order=150,
        search=f"{__name__}:search",
        bits=True,
        sections={RANDOM: RandomSettings},
        lowest_bits=lambda settings: int(settings["search"]["bitwidths"][0]),
        pools_variants=True,
    ),
)


def search(context: SearchContext) -> SearchResult:
    """Draw a policy whose cost lies in the band of the target.

    The bits of weights and inputs of each layer are drawn independently from the candidates b, with
    probabilities proportional to ``exp(-β b)``. β is the same everywhere, and such that the mean
    cost is the middle of the band. Policies outside the band are drawn again.

    Raises:
        SBSError: there is no target, or no draw met the band.
    """
    import torch

    from sbs.methods.context import SearchResult
    from sbs.methods.penalty import BAND
    from sbs.runtime.seeding import derive_seed
    from sbs.surgery.networks import plain_state

    settings, target = context.settings, context.target_cost()
    if target is None:
        raise SBSError("search.target: random needs a target; give for example '3-bit'")
    cost_of = context.exact_cost()
    draw = context.section(RandomSettings).draw
    generator = torch.Generator().manual_seed(derive_seed(context.seed, "random policy", draw))
    widths = torch.tensor(settings.bitwidths, dtype=torch.float64)

    def chances(tilt: float) -> Tensor:
        return torch.softmax(-tilt * widths, 0)

    fixed, pairs = _costs_of_bits(context)

    def mean_cost(tilt: float) -> float:
        each = chances(tilt)
        return fixed + float(each @ pairs @ each)

    likely = chances(_falling_root(mean_cost, (1 - BAND / 2) * target))
    for _ in range(TRIES):
        policy = _drawn(context, likely, generator)
        if (1 - BAND) * target <= cost_of(policy) <= target:
            return SearchResult(policy, plain_state(context.model), target)
    raise SBSError(
        f"search.target: none of {TRIES} random policies of {context.spec.name} costs about "
        f"{target:.4g}; give a target farther from those of the lowest and the highest bits"
    )


def _drawn(context: SearchContext, chances: Tensor, generator: Generator) -> Policy:
    """A policy with independent bits, with 8 bits at both ends."""
    import torch

    from sbs.policy import LayerPolicy

    policy, inner = context.uniform_policy(ENDS_BITS), context.inner_names
    picked = torch.multinomial(chances, 2 * len(inner), replacement=True, generator=generator)
    bits = [context.settings.bitwidths[index] for index in picked.tolist()]
    drawn = {
        name: LayerPolicy(weight_bits=weights, activation_bits=inputs)
        for name, weights, inputs in zip(inner, bits[::2], bits[1::2], strict=True)
    }
    return policy.model_copy(update={"layers": policy.layers | drawn})


def _costs_of_bits(context: SearchContext) -> tuple[float, Tensor]:
    """Cost of the two ends; and of all other layers, for each pair of weight and input bits."""
    import torch

    layer_cost = cost_model(context.settings.resource).layer
    inner = [shape for shape in context.shapes if not shape.end]
    widths = context.settings.bitwidths
    costs = [[sum(layer_cost(s, w, a) for s in inner) for a in widths] for w in widths]
    ends = sum(layer_cost(one, ENDS_BITS, ENDS_BITS) for one in context.shapes if one.end)
    return float(ends), torch.tensor(costs, dtype=torch.float64)


def _falling_root(function: Callable[[float], float], value: float) -> float:
    """Where a falling function has the value, within [-LARGEST_TILT, LARGEST_TILT]."""
    low, high = -LARGEST_TILT, LARGEST_TILT
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > value else (low, middle)
    return low
