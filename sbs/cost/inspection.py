"""What of a network can be compressed, and how far: before any training."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from sbs.config.arguments import Candidates
from sbs.config.scale import validated
from sbs.cost.exact import policy_cost
from sbs.cost.layers import LayerShape, uniform_policy_of
from sbs.cost.reach import Reach
from sbs.cost.trace import run_on, trace_with, tracing_device
from sbs.errors import SBSError
from sbs.networks.eligible import Layer
from sbs.networks.graph import in_mode
from sbs.networks.own_forward import split_layers
from sbs.networks.structure import Structure, structure_of
from sbs.policy import ENDS_BITS, FULL_PRECISION, Bitwidths
from sbs.registry.costs import cost_model
from sbs.runtime.console import as_text

RESOURCES = ("bops", "memory")
BITWIDTHS = Bitwidths((2, 4, 8))
GROUP_SIZE = 4
NORMS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.RMSNorm),
)
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
WIDTH = 140


@dataclass(frozen=True)
class LayerReport:
    """What can be done with a layer.

    Attributes:
        name: its name in the network.
        kind: its class.
        macs: multiply-accumulate operations for the example; 0 if they are not counted.
        parameters: number of its weights and biases.
        bits: bitwidths that a search can give it; empty if it stays at full precision.
        fixed_bits: why it has no choice of bitwidths; empty if it has.
        prunable: whether it can lose filters.
        whole: why it keeps all its outputs; empty if it can lose filters.
    """

    name: str
    kind: str
    macs: int
    parameters: int
    bits: tuple[int, ...]
    fixed_bits: str
    prunable: bool
    whole: str


@dataclass(frozen=True)
class CostRange:
    """Costs of a network in one resource.

    Attributes:
        resource: name of the cost model.
        full: cost at full precision, in the unit of the model.
        lowest: cost of the cheapest network that a search can find.
    """

    resource: str
    full: float
    lowest: float


@dataclass(frozen=True)
class Inspection:
    """What :func:`sbs.inspect` has found; ``str()`` of it is a table.

    Attributes:
        network: class of the network.
        layers: its layers with weights, in forward order; then those that are left alone.
        costs: the range of reachable costs, in every resource; empty if nothing can be compressed.
        macs: multiply-accumulate operations of the layers that can be compressed.
        other_macs: those of everything else, which stays as it is and is in no cost.
    """

    network: str
    layers: tuple[LayerReport, ...]
    costs: tuple[CostRange, ...]
    macs: int
    other_macs: int

    def __str__(self) -> str:
        return as_text(self._table(), self._totals(), WIDTH)

    def _table(self) -> Table:
        table = Table(title=self.network)
        for column in ("layer", "kind", "MACs", "parameters", "bits", "filters"):
            numbers = column in ("MACs", "parameters")
            table.add_column(column, justify="right" if numbers else "left", overflow="fold")
        for layer in self.layers:
            bits = layer.fixed_bits or ", ".join(map(str, layer.bits))
            filters = "can be pruned" if layer.prunable else layer.whole
            sizes = f"{layer.macs:,}", f"{layer.parameters:,}"
            table.add_row(layer.name, layer.kind, *sizes, bits, filters)
        return table

    def _totals(self) -> Iterator[str]:
        if not self.costs:
            yield "nothing of this network can be compressed"
        for cost in self.costs:
            model = cost_model(cost.resource)
            yield (
                f"{cost.resource}: {model.number(cost.full)} {model.unit} at full precision; "
                f"targets from {model.number(cost.lowest)} {model.unit} on can be reached "
                f"({cost.full / cost.lowest:.1f} times less)"
            )
        if self.other_macs:
            share = self.other_macs / (self.macs + self.other_macs)
            yield (
                f"{self.other_macs:,} MACs ({share:.1%}) are outside these layers; they stay as "
                "they are and are in no cost"
            )


def inspect(
    model: nn.Module,
    example_input: Tensor | tuple[Any, ...],
    *,
    bitwidths: Sequence[int] = BITWIDTHS,
    group_size: int = GROUP_SIZE,
) -> Inspection:
    """Find out what of a network can be quantized and pruned, without training.

    Args:
        model: the network; not changed.
        example_input: its input for one image, a tensor (1, ...), or a tuple of its arguments.
        bitwidths: candidates of the search, by default 2, 4 and 8; each is a multiple of the one
            before.
        group_size: filters per pruning group, by default 4.

    Returns:
        Layers with reasons, and the range of costs that a search can reach.

    Raises:
        SBSError: an argument is not valid, or the network does not run on the example.

    Example:
        >>> import sbs, torch
        >>> found = sbs.inspect(sbs.build_network("resnet20", 10), torch.zeros(1, 3, 32, 32))
        >>> [layer.name for layer in found.layers if layer.prunable][:2]
        ['layer1.0.conv1', 'layer1.1.conv1']
        >>> print(f"{found.costs[0].full / found.costs[0].lowest:.0f} times fewer BOPs")
        784 times fewer BOPs
    """
    given = {"bitwidths": bitwidths, "group_size": group_size}
    candidates = Bitwidths(validated(Candidates, given, "arguments").bitwidths)
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    device = tracing_device(model)
    inputs = tree_map_only(Tensor, lambda tensor: tensor.to(device), inputs)
    model = split_layers(copy.deepcopy(model).to(device))
    structure, untraced = _structure(model)
    layers: Sequence[LayerShape] = ()
    reports: list[LayerReport] = []
    costs: tuple[CostRange, ...] = ()
    if structure is not None:
        layers = trace_with(model, inputs)
        reports = [_report(model, shape, structure, candidates) for shape in layers]
        costs = tuple(_ranges(layers, structure, candidates, group_size))
    macs = sum(shape.macs for shape in layers)
    return Inspection(
        type(model).__name__,
        (*reports, *_left_alone(model, structure, untraced)),
        costs,
        macs,
        max(0, _all_macs(model, inputs) - macs),
    )


def _structure(model: nn.Module) -> tuple[Structure | None, str]:
    """The structure of a network; None and the reason if it cannot be traced."""
    try:
        return structure_of(model), ""
    except SBSError as error:
        return None, str(error)


def _report(
    model: nn.Module, shape: LayerShape, structure: Structure, bitwidths: Bitwidths
) -> LayerReport:
    layer = model.get_submodule(shape.name)
    whole = structure.whole.get(shape.name, "")
    return LayerReport(
        shape.name,
        type(layer).__name__,
        shape.macs,
        _parameters(layer),
        (ENDS_BITS,) if shape.end else tuple(bitwidths),
        f"{ENDS_BITS}, as the first or the last layer" if shape.end else "",
        not whole,
        whole,
    )


def _left_alone(
    model: nn.Module, structure: Structure | None, untraced: str
) -> Iterator[LayerReport]:
    """Other modules with weights of their own, normalisations left out."""
    handled = () if structure is None else structure.layers
    for name, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        inside = any(name.startswith(f"{one}.") for one in handled)
        if own and name not in handled and not inside and not isinstance(module, NORMS):
            reason = untraced if structure is None else _reason(model, name, module, structure)
            kind = type(module).__name__
            count = sum(parameter.numel() for parameter in own)
            yield LayerReport(name or "(network)", kind, 0, count, (), reason, False, reason)


def _reason(model: nn.Module, name: str, module: nn.Module, structure: Structure) -> str:
    if name in structure.alone:
        return structure.alone[name]
    parts = name.split(".")
    for outer in (".".join(parts[:place]) for place in range(1, len(parts))):
        kind = type(model.get_submodule(outer))
        if outer in structure.opaque:
            return f"inside {outer} ({kind.__name__}): {structure.opaque[outer]}"
        if kind.__module__.startswith("torch.nn") and not issubclass(kind, CONTAINERS):
            return f"inside {outer} ({kind.__name__}), which stays as it is"
    if isinstance(module, Layer):
        return "the forward pass does not use it"
    return f"a {type(module).__name__} stays at full precision"


def _ranges(
    layers: Sequence[LayerShape],
    structure: Structure,
    bitwidths: Bitwidths,
    group_size: int,
) -> Iterator[CostRange]:
    if not layers:
        return
    full = uniform_policy_of("network", layers, FULL_PRECISION)
    for resource in RESOURCES:
        prunables = structure.prunables
        reach = Reach("network", layers, prunables, resource, bitwidths.lowest, group_size)
        whole = policy_cost(layers, prunables, full, resource)
        yield CostRange(resource, whole, reach.lowest())


def _all_macs(model: nn.Module, inputs: tuple[Any, ...]) -> int:
    counter = FlopCounterMode(display=False)
    with in_mode(model, training=False), torch.no_grad(), counter:
        run_on(model, inputs)
    return counter.get_total_flops() // 2


def _parameters(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())
