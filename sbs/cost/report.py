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
from sbs.networks.prunable import Prunable
from sbs.policy import FULL_PRECISION, Policy, uniform_policy
from sbs.registry.costs import CostModel, cost_model

COLUMNS = ("layer", "filters", "inputs", "kernel", "weight bits", "input bits", "MACs")
DEFAULT = ("bops", "memory")
"""Cost models that are printed if none is named."""

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
    classes: int | None = None,
    image_size: int | None = None,
    channels: int = 3,
    resources: Sequence[str] = DEFAULT,
) -> None:
    """Print shape, bitwidths and costs of every layer, and the totals.

    Args:
        network: network name.
        bits: bitwidth of every layer, if no policy is given.
        policy_path: a ``policy.json``, or None.
        classes: number of outputs; default: as in the paper's dataset for this network.
        image_size: height and width of an image; default: as in that dataset.
        channels: colour channels of an image.
        resources: names of cost models.

    Raises:
        SBSError: the network or a cost model is unknown, the policy does not fit the network, or
            a cost model does not know one of its layers.
    """
    costs = [cost_model(name) for name in resources]
    spec = get_spec(network)
    size = image_size or spec.image_size
    model = spec.build(classes or spec.classes, channels)
    image = (channels, size, size)
    costed = _Costed(network, image, trace_layers(model, image), spec.prunables(model))
    policy = costed.policy(bits) if policy_path is None else Policy.load(policy_path, network)
    console = Console(width=None if Console().is_terminal else PIPE_WIDTH)
    shapes = prune_shapes(costed.layers, costed.prunables, costed.checked(policy))
    console.print(_table(costed, policy, shapes, costs))
    for cost in costs:
        console.print(_total(costed, policy, cost))


def _table(
    costed: _Costed, policy: Policy, shapes: Sequence[LayerShape], models: Sequence[CostModel]
) -> Table:
    table = Table(title=f"{costed.name}, {'x'.join(map(str, costed.image))} images")
    for column in (*COLUMNS, *(f"{model.name} {_in(model)}".strip() for model in models)):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for shape in shapes:
        chosen = policy.layers[shape.name]
        widths = chosen.weight_bits, chosen.activation_bits
        table.add_row(
            shape.name,
            str(shape.out_channels),
            str(shape.in_channels),
            "x".join(map(str, shape.kernel)),
            *map(str, widths),
            f"{shape.macs:,}",
            *(_shown(model.layer(shape, *widths) / model.scale) for model in models),
        )
    return table


def _in(model: CostModel) -> str:
    return f"({model.unit})" if model.unit else ""


def _shown(cost: float) -> str:
    """Two digits behind the point, or three significant ones of a small number."""
    return f"{cost:.2f}" if cost >= 1 else f"{cost:.3g}"


def _total(costed: _Costed, policy: Policy, model: CostModel) -> str:
    bits = min(FULL_PRECISION, model.highest_bits)
    total, whole = (
        policy_cost(costed.layers, costed.prunables, one, model.name)
        for one in (policy, costed.policy(bits))
    )
    name = model.unit or model.name
    return f"total {total / model.scale:.2f} {name}, {whole / total:.1f} times below {bits} bit"
