"""The network of a search: with gates for bitwidths and for filters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from sbs.errors import SBSError
from sbs.networks import NetworkSpec, Prunable
from sbs.networks.structure import structure_of
from sbs.nn.batch_norm import GatedBatchNorm2d
from sbs.nn.bit_gate import BitGate
from sbs.nn.filter_gate import FilterGate, Metric, Placement
from sbs.nn.layers import QuantLayer
from sbs.policy import Bitwidths, LayerPolicy, Policy
from sbs.quantization.gates import nested_levels
from sbs.surgery.joins import join_norms
from sbs.surgery.layers import layer_options, leaf_layers, swap_layer, swap_norms

Side: TypeAlias = Literal["weight_bits", "activation_bits"]
"""Which bitwidth of a layer's policy a gate chooses."""


@dataclass(frozen=True)
class GateState:
    """All gates of a search network, in few tensors.

    Attributes:
        weight_bits: gates of the weights' bitwidths (L, K-1), before nesting; no rows without any.
        activation_bits: gates of the inputs' bitwidths (L, K-1), likewise.
        groups: gates of all filter groups, layer after layer (G).
    """

    weight_bits: Tensor
    activation_bits: Tensor
    groups: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> GateState:
        """The state after a function of each tensor."""
        return GateState(
            function(self.weight_bits), function(self.activation_bits), function(self.groups)
        )


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
    layers: dict[str, QuantLayer]
    filter_gates: dict[str, FilterGate] = field(default_factory=dict)
    prunables: tuple[Prunable, ...] = ()

    def bit_gates(self) -> Iterator[tuple[str, Side, BitGate]]:
        """Every gate of a bitwidth, with the name of its layer and its side."""
        for name, layer in self.layers.items():
            if layer.weight_gate is not None:
                yield name, "weight_bits", layer.weight_gate
            if layer.activation_gate is not None:
                yield name, "activation_bits", layer.activation_gate

    def state(self) -> GateState:
        """The gates of the last forward pass, differentiable in the thresholds."""
        bits: dict[str, list[Tensor]] = {"weight_bits": [], "activation_bits": []}
        for _, side, gate in self.bit_gates():
            bits[side].append(gate.gates)
        groups = [gate.groups for gate in self.filter_gates.values()]
        none = next(self.model.parameters()).new_empty(0, 0)
        return GateState(
            **{side: torch.stack(found) if found else none for side, found in bits.items()},
            groups=torch.cat(groups) if groups else none.flatten(),
        )

    def policy_of(self, state: GateState) -> Policy:
        """The policy of gates that are all 0 or 1."""
        chosen: dict[str, dict[str, Any]] = {
            name: {
                "weight_bits": layer.options.weight_bits,
                "activation_bits": layer.options.activation_bits,
                "kept": None,
            }
            for name, layer in self.layers.items()
        }
        rows = {
            "weight_bits": iter(nested_levels(state.weight_bits)),
            "activation_bits": iter(nested_levels(state.activation_bits)),
        }
        for name, side, gate in self.bit_gates():
            chosen[name][side] = gate.bitwidths[next(rows[side])]
        for name, filter_gate, groups in self.groups_of(state):
            chosen[name]["kept"] = filter_gate.kept(groups)
        layers = {name: LayerPolicy(**choices) for name, choices in chosen.items()}
        return Policy(network=self.network, layers=layers)

    def groups_of(self, state: GateState) -> Iterator[tuple[str, FilterGate, Tensor]]:
        """Every filter gate with the name of its layer and its part of ``state.groups``."""
        sizes = [len(gate.groups) for gate in self.filter_gates.values()]
        parts = torch.split(state.groups, sizes) if sizes else ()
        for (name, gate), part in zip(self.filter_gates.items(), parts, strict=True):
            yield name, gate, part

    def gates(self) -> Iterator[BitGate | FilterGate]:
        """Every gate."""
        yield from (gate for _, _, gate in self.bit_gates())
        yield from self.filter_gates.values()

    def freeze(self, policy: Policy) -> None:
        """Fix every gate as ``policy`` says; thresholds and metrics then have no effect."""
        self.freeze_bits(policy)
        self.freeze_filters(policy)

    def freeze_bits(self, policy: Policy) -> None:
        """Fix the gates of bitwidths as ``policy`` says."""
        for name, side, gate in self.bit_gates():
            gate.freeze(getattr(policy.layers[name], side))

    def freeze_filters(self, policy: Policy) -> None:
        """Fix the gates of filter groups as ``policy`` says."""
        for name, gate in self.filter_gates.items():
            gate.freeze(policy.layers[name].kept)


def search_network(
    model: nn.Module,
    spec: NetworkSpec,
    start: Policy,
    *,
    bitwidths: Bitwidths | None,
    group_size: int | None,
    metric: Metric,
    placement: Placement,
) -> SearchSpace:
    """Turn a plain network into the network of the search, with all gates open.

    Args:
        model: plain network; its modules and parameters are reused.
        spec: description of the network.
        start: bitwidths of the layers without gates: the first and the last layer; all layers if
            only pruning is searched.
        bitwidths: nesting candidates, or None to search no bitwidths.
        group_size: filters per pruning group, or None to search no pruning.
        metric: see :class:`sbs.nn.filter_gate.FilterGate`.
        placement: see :class:`sbs.nn.filter_gate.FilterGate`.

    Raises:
        SBSError: the network has a batch norm that this placement cannot use.
    """
    options, structure = layer_options(model, start), structure_of(model)
    prunables = spec.prunables(model)
    ends = structure.first | structure.last
    layers: dict[str, QuantLayer] = {}
    plain = leaf_layers(model)
    for name in start.layers:
        searched = None if name in ends else bitwidths
        layers[name] = swap_layer(model, name, plain[name], options[name], searched)
    swap_norms(model)
    space = SearchSpace(start.network, join_norms(model), layers)
    if group_size is not None:
        space.prunables = prunables
        for prunable in prunables:
            _add_filter_gate(space, prunable, group_size, metric, placement)
    return space


def _add_filter_gate(
    space: SearchSpace,
    prunable: Prunable,
    group_size: int,
    metric: Metric,
    placement: Placement,
) -> None:
    layer = space.layers[prunable.layer]
    gate = FilterGate(
        layer.weight.shape[0],
        group_size,
        metric=metric,
        placement=placement,
        device=layer.weight.device,
        dtype=layer.weight.dtype,
    )
    layer.filter_gate = gate
    space.filter_gates[prunable.layer] = gate
    for position, span in enumerate(prunable.norms if placement != "reader" else ()):
        # Only the norm directly after the filter carries the gradient; later ones use the mask.
        norm = space.model.get_submodule(span.name)
        if not isinstance(norm, GatedBatchNorm2d):
            raise SBSError(
                f"search.pruning_gate: {placement} needs batch norms of images, with parameters "
                f"and statistics, but {span.name} is a {type(norm).__name__}; take reader"
            )
        first = position == 0
        norm.gate_by(gate, span.start, differentiable=placement == "norm" and first)
    for name in (prunable.layer, *prunable.producers):
        space.layers[name].share_outputs(gate)
    for span in prunable.consumers:
        space.layers[span.name].share_inputs(gate, span.start, span.repeat)
