"""SBS: searches bitwidths and filters, in one stage or in two (Table 7)."""

from __future__ import annotations

from sbs.methods.context import SearchContext, SearchResult
from sbs.methods.single_path import search as single_path
from sbs.methods.single_path import two_stage


def search(context: SearchContext) -> SearchResult:
    """Search all gates at once, or one kind after the other."""
    if context.settings.stages == "one":
        return single_path.search(context, quantize=True, prune=True)
    return two_stage.search(context)
