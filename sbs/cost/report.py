"""Print the cost of a network, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sbs.cost.exact import policy_cost
from sbs.cost.layers import LayerShape, prune_shapes
from sbs.cost.trace import trace_layers
from sbs.networks import get_spec
from sbs.networks.spec import Prunable
from sbs.policy import FULL_PRECISION, Policy, uniform_policy
from sbs.registry.costs import cost_models

COLUMNS = ("layer", "filters", "inputs", "kernel", "weight bits", "input bits", "MACs")
PIPE_WIDTH = 140


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
) -> None:
    """Print shape, bitwidths and costs of every layer, and the totals; uses all cost models.

    Args:
        network: network name.
        bits: bitwidth of every layer, if no policy is given.
        policy_path: a ``policy.json``, or None.
        classes: number of outputs; default: as in the paper's dataset for this network.
        image_size: height and width of an image; default: as in that dataset.
        channels: colour channels of an image.

    Raises:
        SBSError: the network is unknown, or the policy does not fit it.
    """
    spec = get_spec(network)
    size = image_size or spec.image_size
    model = spec.build(classes or spec.classes, channels)
    image = (channels, size, size)
    costed = _Costed(network, image, trace_layers(model, image), spec.prunables(model))
    policy = costed.policy(bits) if policy_path is None else Policy.load(policy_path, network)
    console = Console(width=None if Console().is_terminal else PIPE_WIDTH)
    console.print(_table(costed, costed.checked(policy)))
    for line in _totals(costed, policy):
        console.print(line)


def _table(costed: _Costed, policy: Policy) -> Table:
    table = Table(title=f"{costed.name}, {'x'.join(map(str, costed.image))} images")
    models = cost_models().values()
    for column in (*COLUMNS, *(f"{model.name} ({model.unit})" for model in models)):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for shape in prune_shapes(costed.layers, costed.prunables, policy):
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
        )
    return table


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
