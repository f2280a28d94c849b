"""Compression methods. Each is a function ``search(context) -> SearchResult``."""

from __future__ import annotations

import re
from functools import partial

from sbs.errors import SBSError
from sbs.methods import dnas, dq, fixed, sbs
from sbs.methods.context import SearchContext, SearchMethod, SearchResult

__all__ = ["METHODS", "SearchContext", "SearchMethod", "SearchResult", "get_method"]


def _sbs_q(context: SearchContext) -> SearchResult:
    if context.settings.bit_sharing:
        return sbs.search(context, quantize=True, prune=False)
    return dnas.search(context, quantizer="interval")


def _haq(context: SearchContext) -> SearchResult:
    # Its environment and agent take seconds to import, which the others need not wait for.
    from sbs.methods import haq

    return haq.search(context)


METHODS: dict[str, SearchMethod] = {
    "dq": dq.search,
    "haq": _haq,
    "dnas": partial(dnas.search, quantizer="dorefa_pact"),
    "sbs_p": partial(sbs.search, quantize=False, prune=True),
    "sbs_q": _sbs_q,
    "sbs": partial(sbs.search, quantize=True, prune=True),
}
"""Searching methods by name; ``fixed<k>`` is one more for every k."""


def get_method(name: str) -> SearchMethod:
    """The method of a name: ``sbs``, ``sbs_q``, ``sbs_p``, or ``fixed4`` and the like.

    Raises:
        SBSError: there is no such method.
    """
    match = re.fullmatch(r"fixed(\d+)", name)
    if match and 1 <= int(match[1]) <= 32:
        return partial(fixed.search, bits=int(match[1]))
    if name in METHODS:
        return METHODS[name]
    known = ", ".join([*sorted(METHODS), "fixed<k> with k from 1 to 32"])
    raise SBSError(f"unknown method {name!r}; known are {known}")
