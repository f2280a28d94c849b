"""Compression methods. Each is a module with a function ``search(context) -> SearchResult``.

They are imported by name and on demand, so that a search depends on the code of its own method
alone: an edit of one method makes the results of no other stale.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

from sbs.errors import SBSError
from sbs.methods.context import SearchContext, SearchMethod, SearchResult

__all__ = ["METHODS", "SearchContext", "SearchMethod", "SearchResult", "get_method", "module_of"]

METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "dnas": ("sbs.methods.dnas", {"quantizer": "dorefa_pact"}),
    "dq": ("sbs.methods.dq", {}),
    "haq": ("sbs.methods.haq", {}),
    "sbs": ("sbs.methods.sbs", {"quantize": True, "prune": True}),
    "sbs_p": ("sbs.methods.sbs", {"quantize": False, "prune": True}),
    "sbs_q": ("sbs.methods.sbs_q", {}),
}
"""Searching methods by name: module, and what its ``search`` gets besides the context.
``fixed<k>`` is one more for every k."""


def get_method(name: str) -> SearchMethod:
    """The method of a name: ``sbs``, ``sbs_q``, ``sbs_p``, or ``fixed4`` and the like.

    Raises:
        SBSError: there is no such method.
    """
    module, options = _entry(name)
    return partial(import_module(module).search, **options)


def module_of(name: str) -> str:
    """The dotted name of a method's module, for the digest of its code.

    Raises:
        SBSError: there is no such method.
    """
    return _entry(name)[0]


def _entry(name: str) -> tuple[str, Mapping[str, Any]]:
    match = re.fullmatch(r"fixed(\d+)", name)
    if match and 1 <= int(match[1]) <= 32:
        return "sbs.methods.fixed", {"bits": int(match[1])}
    if name in METHODS:
        return METHODS[name]
    known = ", ".join([*sorted(METHODS), "fixed<k> with k from 1 to 32"])
    raise SBSError(f"unknown method {name!r}; known are {known}")
