"""The network of a search: with gates for bitwidths and for filters."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from sbs.networks import NetworkSpec, Prunable
from sbs.nn.batch_norm import GatedBatchNorm2d
from sbs.nn.filter_gate import FilterGate, Placement
from sbs.nn.layers import QuantConv2d, QuantLinear
from sbs.policy import Bitwidths, Policy
from sbs.surgery.layers import layer_options, leaf_layers, swap_layer, swap_norms


@dataclass
class SearchSpace:
    """A network with gates, and the gates by layer.

    Attributes:
        network: name of the network.
        model: the network.
        layers: every convolution and linear layer, in the order of the start policy.
        filter_gates: pruning gates, by the name of their convolution.
        prunables: the layers that shrink with each of these convolutions.
    """

    network: str
    model: nn.Module
    layers: dict[str, QuantConv2d | QuantLinear]
    filter_gates: dict[str, FilterGate] = field(default_factory=dict)
    prunables: tuple[Prunable, ...] = ()

    def freeze(self, policy: Policy) -> None:
        """Fix every gate as ``policy`` says; thresholds and metrics then have no effect."""
        for name, layer in self.layers.items():
            chosen = policy.layers[name]
            for gate, bits in (
                (layer.weight_gate, chosen.weight_bits),
                (layer.activation_gate, chosen.activation_bits),
            ):
                if gate is not None:
                    above = [float(bits >= high) for high in gate.bitwidths[1:]]
                    gate.frozen = gate.thresholds.new_tensor(above)
        for name, filter_gate in self.filter_gates.items():
            kept = policy.layers[name].kept
            if kept is not None:
                starts = range(0, filter_gate.filters, filter_gate.group_size)
                held = [float(start in kept) for start in starts]
                filter_gate.frozen = filter_gate.threshold.new_tensor(held)


def search_network(
    model: nn.Module,
    spec: NetworkSpec,
    start: Policy,
    *,
    bitwidths: Bitwidths | None,
    group_size: int | None,
    standardized: bool,
    placement: Placement,
) -> SearchSpace:
    """Turn a plain network into the network of the search, with all gates open. In place.

    Args:
        model: plain network; its parameters are reused.
        spec: description of the network.
        start: bitwidths of the layers without gates: the first and the last layer; all layers if
            only pruning is searched.
        bitwidths: nesting candidates, or None to search no bitwidths.
        group_size: filters per pruning group, or None to search no pruning.
        standardized: see :func:`sbs.quantization.gates.group_metrics`.
        placement: see :class:`sbs.nn.filter_gate.FilterGate`.
    """
    options = layer_options(model, spec, start)
    prunables = spec.prunables(model)
    ends = {spec.first_layer, spec.last_layer}
    layers: dict[str, QuantConv2d | QuantLinear] = {}
    plain = leaf_layers(model)
    for name in start.layers:
        searched = None if name in ends else bitwidths
        layers[name] = swap_layer(model, name, plain[name], options[name], searched)
    swap_norms(model, prunables)
    if group_size is None:
        return SearchSpace(start.network, model, layers)
    space = SearchSpace(start.network, model, layers, {}, prunables)
    for prunable in prunables:
        _add_filter_gate(space, prunable, group_size, standardized, placement)
    return space


def _add_filter_gate(
    space: SearchSpace,
    prunable: Prunable,
    group_size: int,
    standardized: bool,
    placement: Placement,
) -> None:
    layer = space.layers[prunable.layer]
    gate = FilterGate(
        layer.weight.shape[0],
        group_size,
        standardized=standardized,
        placement=placement,
        device=layer.weight.device,
    )
    layer.filter_gate = gate
    space.filter_gates[prunable.layer] = gate
    for position, name in enumerate(prunable.norms):
        # Only the norm directly after the filter carries the gradient; later ones use the mask.
        norm = space.model.get_submodule(name)
        assert isinstance(norm, GatedBatchNorm2d)
        norm.gate_by(gate, differentiable=placement == "norm" and position == 0)
    for name in (prunable.layer, *prunable.producers):
        space.layers[name].share_outputs(gate)
    for name in prunable.consumers:
        space.layers[name].share_inputs(gate)
