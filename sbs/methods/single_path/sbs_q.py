"""SBS-Q, which searches bitwidths alone, with bit sharing or (Table 5) without."""

from __future__ import annotations

from sbs.methods.context import SearchContext, SearchResult
from sbs.methods.multipath import search as multipath
from sbs.methods.single_path import search as single_path


def search(context: SearchContext) -> SearchResult:
    """A single path of nested bitwidths, or a path with its own weights for each bitwidth."""
    if context.settings.bit_sharing:
        return single_path.search(context, quantize=True, prune=False)
    return multipath.search(context)
