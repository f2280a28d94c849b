"""The quantizers, an object each, by the name that a policy gives.

A new one is a module with a subclass of :class:`sbs.nn.quantizers.base.Quantizer`, most often of
:class:`sbs.nn.quantizers.base.LayerQuantizer`, whose object it registers. The modules of this
package are imported here by name, not searched for, so that the digest of the code sees them.
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
