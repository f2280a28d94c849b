"""SBS-Q, which searches bitwidths alone, with bit sharing or (Table 5) without."""

from __future__ import annotations

from sbs.methods import dnas, sbs
from sbs.methods.context import SearchContext, SearchResult


def search(context: SearchContext) -> SearchResult:
    """A single path of nested bitwidths, or a path with its own weights for each bitwidth."""
    if context.settings.bit_sharing:
        return sbs.search(context, quantize=True, prune=False)
    return dnas.search(context, quantizer="interval")
