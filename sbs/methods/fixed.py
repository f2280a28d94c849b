"""Fixed precision: the same bitwidth everywhere, nothing to search."""

from __future__ import annotations

from sbs.methods.context import SearchContext, SearchResult
from sbs.policy import uniform_policy
from sbs.surgery.networks import plain_state


def search(context: SearchContext, *, bits: int) -> SearchResult:
    """The ``bits``-bit policy, with the first and last layer at 8 bits (section 4.2)."""
    policy = uniform_policy(context.spec.name, context.layer_names, bits)
    return SearchResult(policy, plain_state(context.model))
