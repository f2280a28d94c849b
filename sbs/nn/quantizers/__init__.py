"""The quantizers: one object each, found by the name in the policy.

To add one, write a module that registers an object of a subclass of
:class:`sbs.nn.quantizers.base.Quantizer`, usually of
:class:`sbs.nn.quantizers.base.LayerQuantizer`. The modules of this package are imported here by
name, so that the digest of the code includes them.
"""

from __future__ import annotations

from sbs.nn.quantizers import dorefa_pact, dq, interval, linear
from sbs.nn.quantizers.base import LayerQuantizer, Quantizer, get_quantizer, register

__all__ = [
    "LayerQuantizer",
    "Quantizer",
    "dorefa_pact",
    "dq",
    "get_quantizer",
    "interval",
    "linear",
    "register",
]
