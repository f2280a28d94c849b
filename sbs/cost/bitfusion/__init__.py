"""BitFusion: latency and energy of a network on an accelerator for mixed bitwidths (Table 6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sbs.cost.bitfusion.network import simulated_layer
from sbs.cost.bitfusion.setting import DEFAULT, is_file, setting_of
from sbs.cost.bitfusion.work import HIGHEST_BITS
from sbs.cost.layers import LayerShape
from sbs.registry.costs import CostModel

ON = "on BitFusion, for a batch"


def latency(argument: str = DEFAULT) -> CostModel:
    """Seconds of a batch.

    Args:
        argument: see :func:`sbs.cost.bitfusion.setting.setting_of`.
    """
    setting = setting_of(argument)

    def layer(shape: LayerShape, weight_bits: int, activation_bits: int) -> float:
        cycles = simulated_layer(shape, weight_bits, activation_bits, setting).cycles
        return cycles / setting.machine.frequency

    facts = _facts(argument)
    return CostModel(
        "bitfusion-latency", f"latency {ON}", "ms", 1e-3, layer, configured=latency, **facts
    )


def energy(argument: str = DEFAULT) -> CostModel:
    """Joules of a batch; ``argument`` as for :func:`latency`."""
    setting = setting_of(argument)

    def layer(shape: LayerShape, weight_bits: int, activation_bits: int) -> float:
        return simulated_layer(shape, weight_bits, activation_bits, setting).energy * 1e-9

    facts = _facts(argument)
    return CostModel(
        "bitfusion-energy", f"energy {ON}", "mJ", 1e-3, layer, configured=energy, **facts
    )


def _facts(argument: str) -> dict[str, Any]:
    file = Path(argument) if is_file(argument) else None
    return {"closed_form": False, "highest_bits": HIGHEST_BITS, "file": file}


COSTS = (latency(), energy())
