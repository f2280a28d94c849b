"""Fixed precision: the same bitwidth everywhere, without a search."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from sbs.policy import FULL_PRECISION
from sbs.registry.methods import Method

if TYPE_CHECKING:
    from sbs.methods.context import SearchContext, SearchResult

MIXED = tuple(range(1, 9))
"""Bitwidths of weights and inputs that can differ from each other."""


def _method(name: str, label: str, order: int, weights: int, inputs: int) -> Method:
    return Method(
        name=name,
        label=label,
        order=order,
        search=f"{__name__}:search",
        options={"weights": weights, "inputs": inputs},
        quantizes=weights < FULL_PRECISION,
        lands=False,
        family="fixed precision",
    )


METHODS = (
    *(
        _method(f"fixed{bits}", f"{bits}-bit precision", 100 + bits, bits, bits)
        for bits in range(1, FULL_PRECISION)
    ),
    *(
        _method(f"fixed-w{w}a{a}", f"{w}-bit weights, {a}-bit inputs", 100 + min(w, a), w, a)
        for w, a in product(MIXED, MIXED)
        if w != a
    ),
    # Trained as long as the others: what a compressed network can reach at best.
    _method("fixed32", "Full-precision, fine-tuned", 1, FULL_PRECISION, FULL_PRECISION),
)


def search(context: SearchContext, *, weights: int, inputs: int) -> SearchResult:
    """The same bits in every layer, with the first and last layer at 8 bits (section 4.2)."""
    from sbs.methods.context import SearchResult
    from sbs.surgery.networks import plain_state

    policy = context.uniform_policy(weights)
    both = {"weight_bits": weights, "activation_bits": inputs}
    inner = {name: policy.layers[name].model_copy(update=both) for name in context.inner_names}
    policy = policy.model_copy(update={"layers": policy.layers | inner})
    return SearchResult(policy, plain_state(context.model))
