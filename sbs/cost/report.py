"""The printed cost of a network, layer by layer."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from sbs.cost import RESOURCES, policy_cost, prune_shapes, trace_layers
from sbs.networks import get_spec
from sbs.policy import FULL_PRECISION, Policy, uniform_policy


def print_cost(
    network: str,
    bits: int,
    policy_path: Path | None,
    *,
    classes: int | None = None,
    image_size: int | None = None,
    channels: int = 3,
) -> None:
    """Print every layer's shape, bitwidths, bit operations and bytes, and the totals.

    Args:
        network: network name.
        bits: bitwidth of every layer, if there is no policy.
        policy_path: a ``policy.json``.
        classes: outputs; by default those of the paper's dataset for this network.
        image_size: height and width of an image, likewise.
        channels: colour channels.

    Raises:
        SBSError: an unknown network, or a policy that does not fit it.
    """
    spec = get_spec(network)
    size = image_size or spec.image_size
    model = spec.build(classes or spec.classes, channels)
    layers = trace_layers(model, (channels, size, size))
    prunables = spec.prunables(model)
    names = [layer.name for layer in layers]
    full = uniform_policy(network, names, FULL_PRECISION)
    policy = (
        uniform_policy(network, names, bits) if policy_path is None else Policy.load(policy_path)
    )
    policy.check_layers(
        {layer.name: layer.out_channels for layer in layers}, [one.layer for one in prunables]
    )
    table = Table(title=f"{network}, {channels}x{size}x{size} images")
    for column in ("layer", "filters", "inputs", "kernel", "weight bits", "input bits"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for column in ("MACs", "BOPs (M)", "memory (KB)"):
        table.add_column(column, justify="right")
    for shape in prune_shapes(layers, prunables, policy):
        chosen = policy.layers[shape.name]
        widths = chosen.weight_bits, chosen.activation_bits
        table.add_row(
            shape.name,
            str(shape.out_channels),
            str(shape.in_channels),
            "x".join(map(str, shape.kernel)),
            *map(str, widths),
            f"{shape.macs:,}",
            f"{RESOURCES['bops'](shape, *widths) / 1e6:.2f}",
            f"{RESOURCES['memory'](shape, *widths) / 1e3:.2f}",
        )
    console = Console(width=None if Console().is_terminal else 140)
    console.print(table)
    for resource, unit, scale in (("bops", "M BOPs", 1e6), ("memory", "KB", 1e3)):
        total = policy_cost(layers, prunables, policy, resource)
        whole = policy_cost(layers, prunables, full, resource)
        console.print(f"total {total / scale:.2f} {unit}, {whole / total:.1f} times below 32 bit")
