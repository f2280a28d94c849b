"""The quantities that tables, figures and claims compare, and where their values are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sbs.registry.costs import cost_model


@dataclass(frozen=True)
class Quantity:
    """A measured property of a run.

    Attributes:
        column: column of the runs, see :func:`sbs.results.collect.collect`; some runs lack it.
        unit: unit of printed values.
        published: names in the file of published values; each with its factor to ``unit``.
        scale: values of the runs are divided by it to get ``unit``.
        points: true if values are compared by difference, as accuracies are; false for costs, which
            are compared by ratio.
        accuracy: true for shares of the test images: as there are only so many images, two runs can
            have equal values by chance.
    """

    column: str
    unit: str
    published: Mapping[str, float]
    scale: float = 1.0
    points: bool = False
    accuracy: bool = False


def _cost(name: str, column: str, published: Mapping[str, float]) -> Quantity:
    model = cost_model(name)
    return Quantity(column, model.unit, published, model.scale)


COSTS: Mapping[str, Quantity] = {
    # The paper prints BOPs in two units.
    "bops": _cost("bops", "bops", {"bops_m": 1.0, "bops_g": 1000.0}),
    "memory": _cost("memory", "memory_bytes", {"memory_kb": 1.0}),
    "bitfusion-latency": _cost("bitfusion-latency", "latency_seconds", {"latency_ms": 1.0}),
    "bitfusion-energy": _cost("bitfusion-energy", "energy_joules", {"energy_mj": 1.0}),
}
"""Cost model -> quantity of the compressed network."""

QUANTITIES: Mapping[str, Quantity] = {
    "top1": Quantity("top1", "%", {"top1": 1.0}, points=True, accuracy=True),
    "top5": Quantity("top5", "%", {"top5": 1.0}, points=True, accuracy=True),
    **COSTS,
    "search_time": Quantity("search_device_hours", "h", {"search_gpu_hours": 1.0}),
    "search_memory": Quantity("search_peak_memory_bytes", "GB", {"gpu_memory_gb": 1.0}, 1e9),
    "pointwise_bits": Quantity("pointwise_bits", "bits", {}, points=True),
    "early_pruning": Quantity("early_pruning", "%", {}, points=True),
    "pruned_bits": Quantity("pruned_bits", "", {}, points=True),
}
"""Quantities by the name that claims use."""
