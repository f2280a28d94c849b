"""SBS-Q: searches only bitwidths, with bit sharing or without it (Table 5)."""

from __future__ import annotations

from sbs.methods.context import SearchContext, SearchResult
from sbs.methods.multipath import search as multipath
from sbs.methods.single_path import search as single_path


def search(context: SearchContext) -> SearchResult:
    """Search a single path of nested bitwidths, or one path with its own weights per bitwidth."""
    if context.settings.bit_sharing:
        return single_path.search(context, quantize=True, prune=False)
    return multipath.search(context)
