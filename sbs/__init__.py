"""Single-path Bit Sharing for Automatic Loss-aware Model Compression: a reference replication."""

from importlib import import_module
from typing import Any

# Imported on first use, so that importing the package does not import PyTorch.
_PUBLIC = {
    "NetworkSpec": "sbs.networks",
    "Policy": "sbs.policy",
    "SBSError": "sbs.errors",
    "build_network": "sbs.networks",
    "compress": "sbs.compression.run",
    "front": "sbs.compression.front",
    "inspect": "sbs.cost.inspection",
    "load": "sbs.export.packed",
    "policy_cost": "sbs.cost.exact",
    "quantized_network": "sbs.surgery.networks",
    "search_network": "sbs.surgery.search",
    "trace_layers": "sbs.cost.trace",
    "uniform_policy": "sbs.policy",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sbs' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
