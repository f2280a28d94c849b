"""Full precision: the pretrained network from which all methods start."""

from __future__ import annotations

from sbs.registry.methods import Method

METHODS = (
    Method(name="fp", label="Full-precision", order=0, search=None, quantizes=False, lands=False),
)
