"""Fixed precision: the same bitwidth everywhere, without a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sbs.policy import FULL_PRECISION
from sbs.registry.methods import Method

if TYPE_CHECKING:
    from sbs.methods.context import SearchContext, SearchResult

METHODS = tuple(
    Method(
        name=f"fixed{bits}",
        label=f"{bits}-bit precision",
        order=100 + bits,
        search=f"{__name__}:search",
        options={"bits": bits},
        lands=False,
        family="fixed precision",
    )
    for bits in range(1, FULL_PRECISION + 1)
)


def search(context: SearchContext, *, bits: int) -> SearchResult:
    """The ``bits``-bit policy, with the first and last layer at 8 bits (section 4.2)."""
    from sbs.methods.context import SearchResult
    from sbs.policy import uniform_policy
    from sbs.surgery.networks import plain_state

    policy = uniform_policy(context.spec.name, context.layer_names, bits)
    return SearchResult(policy, plain_state(context.model))
