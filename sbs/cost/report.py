"""Print the cost of a network, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sbs.cost.bitfusion.machine import named_machine
from sbs.cost.bitfusion.network import LayerCost, Setting, layer_costs
from sbs.cost.exact import policy_cost
from sbs.cost.layers import LayerShape, prune_shapes
from sbs.cost.trace import trace_layers
from sbs.networks import get_spec
from sbs.networks.spec import Prunable
from sbs.policy import FULL_PRECISION, Policy, uniform_policy
from sbs.registry.costs import cost_models

COLUMNS = ("layer", "filters", "inputs", "kernel", "weight bits", "input bits", "MACs")
SIMULATED = ("ms", "mJ")
PIPE_WIDTH = 160


@dataclass(frozen=True)
class _Costed:
    """A network with the shapes that the cost models need."""

    name: str
    image: tuple[int, int, int]
    layers: Sequence[LayerShape]
    prunables: Sequence[Prunable]

    def policy(self, bits: int) -> Policy:
        return uniform_policy(self.name, [layer.name for layer in self.layers], bits)

    def checked(self, policy: Policy) -> Policy:
        shapes = {layer.name: layer.weight_shape for layer in self.layers}
        policy.check(self.name, shapes, [one.layer for one in self.prunables])
        return policy


def print_cost(
    network: str,
    bits: int,
    policy_path: Path | None,
    *,
    classes: int | None = None,
    image_size: int | None = None,
    channels: int = 3,
    machine: str | None = None,
) -> None:
    """Print shape, bitwidths and costs of every layer, and the totals; uses all cost models.

    Args:
        network: network name.
        bits: bitwidth of every layer, if no policy is given.
        policy_path: a ``policy.json``, or None.
        classes: number of outputs; default: as in the paper's dataset for this network.
        image_size: height and width of an image; default: as in that dataset.
        channels: colour channels of an image.
        machine: BitFusion accelerator whose time and energy to print too, for a batch of 16.

    Raises:
        SBSError: the network or the machine is unknown, the policy does not fit the network, or
            the machine cannot run it.
    """
    setting = None if machine is None else Setting(named_machine(machine))
    spec = get_spec(network)
    size = image_size or spec.image_size
    model = spec.build(classes or spec.classes, channels)
    image = (channels, size, size)
    costed = _Costed(network, image, trace_layers(model, image), spec.prunables(model))
    policy = costed.policy(bits) if policy_path is None else Policy.load(policy_path, network)
    console = Console(width=None if Console().is_terminal else PIPE_WIDTH)
    shapes = prune_shapes(costed.layers, costed.prunables, costed.checked(policy))
    simulated = [] if setting is None else layer_costs(shapes, policy, setting)
    console.print(_table(costed, policy, shapes, simulated))
    for line in [*_totals(costed, policy), *_simulated_totals(simulated)]:
        console.print(line)


def _table(
    costed: _Costed,
    policy: Policy,
    shapes: Sequence[LayerShape],
    simulated: Sequence[LayerCost],
) -> Table:
    table = Table(title=f"{costed.name}, {'x'.join(map(str, costed.image))} images")
    models = cost_models().values()
    units = [f"{model.name} ({model.unit})" for model in models]
    for column in (*COLUMNS, *units, *(SIMULATED if simulated else ())):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for position, shape in enumerate(shapes):
        chosen = policy.layers[shape.name]
        widths = chosen.weight_bits, chosen.activation_bits
        table.add_row(
            shape.name,
            str(shape.out_channels),
            str(shape.in_channels),
            "x".join(map(str, shape.kernel)),
            *map(str, widths),
            f"{shape.macs:,}",
            *(f"{model.layer(shape, *widths) / model.scale:.2f}" for model in models),
            *(_time_and_energy(simulated[position]) if simulated else ()),
        )
    return table


def _time_and_energy(cost: LayerCost) -> tuple[str, str]:
    return f"{cost.milliseconds:.3f}", f"{cost.millijoules:.3f}"


def _simulated_totals(simulated: Sequence[LayerCost]) -> list[str]:
    if not simulated:
        return []
    time = sum(cost.milliseconds for cost in simulated)
    energy = sum(cost.millijoules for cost in simulated)
    return [f"BitFusion, batch of 16: {time:.3f} ms, {energy:.3f} mJ"]


def _totals(costed: _Costed, policy: Policy) -> list[str]:
    lines = []
    for model in cost_models().values():
        total, whole = (
            policy_cost(costed.layers, costed.prunables, one, model.name)
            for one in (policy, costed.policy(FULL_PRECISION))
        )
        lines.append(
            f"total {total / model.scale:.2f} {model.unit}, {whole / total:.1f} times below 32 bit"
        )
    return lines
