"""Swap quantized layers into a plain network, and take pruned filters out for real."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sbs.errors import SBSError
from sbs.networks import NetworkSpec, Prunable
from sbs.networks.graph import normalized_layers
from sbs.nn.batch_norm import GatedBatchNorm2d
from sbs.nn.filter_gate import FilterGate, Placement
from sbs.nn.layers import LayerOptions, QuantConv2d, QuantLinear
from sbs.nn.quantizers import LayerQuantizer, get_quantizer
from sbs.policy import FULL_PRECISION, Bitwidths, Policy

INTERVALS = ("weight_interval", "activation_interval")


@dataclass
class SearchSpace:
    """A network with gates in it, and the gates by layer.

    Attributes:
        network: its name.
        model: the network.
        layers: every convolution and linear layer, in the order of the start policy.
        filter_gates: pruning gates by the name of their convolution.
        prunables: what shrinks with each of those.
    """

    network: str
    model: nn.Module
    layers: dict[str, QuantConv2d | QuantLinear]
    filter_gates: dict[str, FilterGate] = field(default_factory=dict)
    prunables: tuple[Prunable, ...] = ()

    def freeze(self, policy: Policy) -> None:
        """Hold every gate at what ``policy`` says, whatever thresholds and metrics."""
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


def leaf_layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Convolutions and linear layers by name, in the order of definition."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def quantized_network(model: nn.Module, spec: NetworkSpec, policy: Policy) -> nn.Module:
    """The network of ``policy``: pruned filters gone, layers at their bitwidths. In place.

    Args:
        model: plain network in the layout of ``spec``; its parameters are taken over.
        spec: the network's description.
        policy: bitwidths and kept filters; checked against the network.

    Raises:
        SBSError: the policy does not fit the network.
    """
    prunables = spec.prunables(model)
    shapes = {name: tuple(layer.weight.shape) for name, layer in leaf_layers(model).items()}
    policy.check(spec.name, shapes, [prunable.layer for prunable in prunables])

    def swap_layers() -> nn.Module:
        options = layer_options(model, spec, policy)
        remove_filters(model, prunables, policy)
        for name, layer in leaf_layers(model).items():
            _swap_layer(model, name, layer, options[name], None)
        _swap_norms(model, prunables)
        return model

    return get_quantizer(policy.quantizer).network(model, swap_layers)


def layer_options(model: nn.Module, spec: NetworkSpec, policy: Policy) -> dict[str, LayerOptions]:
    """How each layer of a policy is quantized, by name.

    Args:
        model: the plain network; left as it is.
        spec: its description.
        policy: bitwidths, and a quantizer of layers.

    Raises:
        SBSError: the policy's quantizer does not work layer by layer.
    """
    quantizer = get_quantizer(policy.quantizer)
    if not isinstance(quantizer, LayerQuantizer):
        raise SBSError(f"the quantizer {quantizer.name!r} is not one of layers; take 'interval'")
    signed, normalized = spec.signed_inputs(model), normalized_layers(model)
    return {
        name: LayerOptions(
            weight_bits=policy.layers[name].weight_bits,
            activation_bits=policy.layers[name].activation_bits,
            signed_input=name in signed,
            quantize_input=name != spec.first_layer,
            standardize_weights=quantizer.standardizes
            and name in normalized
            and policy.layers[name].weight_bits != FULL_PRECISION,
            fit_weight_interval=name not in normalized and name != spec.last_layer,
            quantizer=quantizer,
        )
        for name in leaf_layers(model)
    }


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
    """The network of the search, every gate open. In place.

    Args:
        model: plain network; its parameters are taken over.
        spec: the network's description.
        start: bitwidths of the layers without gates: the first and the last layer, and all of
            them if only pruning is searched.
        bitwidths: nesting candidates, or None to search no bitwidths.
        group_size: filters a pruning group, or None to search no pruning.
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
        layers[name] = _swap_layer(model, name, plain[name], options[name], searched)
    _swap_norms(model, prunables)
    if group_size is None:
        return SearchSpace(start.network, model, layers)
    space = SearchSpace(start.network, model, layers, {}, prunables)
    for prunable in prunables:
        _add_filter_gate(space, prunable, group_size, standardized, placement)
    return space


def remove_filters(model: nn.Module, prunables: Iterable[Prunable], policy: Policy) -> None:
    """Take the pruned filters out of a plain network, with all that belonged to them. In place."""
    for prunable in prunables:
        kept = policy.layers[prunable.layer].kept
        if kept is None:
            continue
        index = torch.tensor(kept, device=next(model.parameters()).device)
        for name in (prunable.layer, *prunable.producers):
            _keep_outputs(model.get_submodule(name), index)
        for name in prunable.norms:
            _keep_channels(model.get_submodule(name), index)
        for name in prunable.consumers:
            _keep_inputs(model.get_submodule(name), index)


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """State dict of a quantized or search network without its gates: weights and intervals."""
    gated = (".weight_gate.", ".activation_gate.", ".filter_gate.")
    return {
        name: value.detach().cpu().contiguous()
        for name, value in model.state_dict().items()
        if not any(part in name for part in gated)
    }


def split_intervals(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Separate a state into what a plain network has, and the quantization intervals."""
    intervals = {name: value for name, value in state.items() if name.endswith(INTERVALS)}
    return {name: value for name, value in state.items() if name not in intervals}, intervals


def _swap_layer(
    model: nn.Module,
    name: str,
    layer: nn.Conv2d | nn.Linear,
    options: LayerOptions,
    bitwidths: Bitwidths | None,
) -> QuantConv2d | QuantLinear:
    bias = layer.bias is not None
    new: QuantConv2d | QuantLinear
    if isinstance(layer, nn.Linear):
        new = QuantLinear(layer.in_features, layer.out_features, bias=bias, device="meta")
    else:
        new = QuantConv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            layer.groups,
            bias,
            layer.padding_mode,
            device="meta",
        )
    for parameter, value in layer.named_parameters():
        new.register_parameter(parameter, value)
    new.setup(options, bitwidths)
    new.train(layer.training)
    model.set_submodule(name, new)
    return new


def _add_filter_gate(
    space: SearchSpace,
    prunable: Prunable,
    group_size: int,
    standardized: bool,
    placement: Placement,
) -> None:
    layer = space.layers[prunable.layer]
    gate = FilterGate(
        layer.weight.shape[0], group_size, standardized=standardized, placement=placement
    )
    layer.filter_gate = gate
    space.filter_gates[prunable.layer] = gate
    for position, name in enumerate(prunable.norms):
        # Only the norm next to the filter carries the gradient; later ones repeat the mask.
        norm = space.model.get_submodule(name)
        assert isinstance(norm, GatedBatchNorm2d)
        norm.gate_by(gate, differentiable=placement == "norm" and position == 0)
    for name in (prunable.layer, *prunable.producers):
        space.layers[name].share_outputs(gate)
    for name in prunable.consumers:
        space.layers[name].share_inputs(gate)


def _swap_norms(model: nn.Module, prunables: Iterable[Prunable]) -> None:
    """Let batch norms wait for the quantizers behind them."""
    private = {
        prunable.norms[0]
        for prunable in prunables
        if len(prunable.consumers) == 1 and not prunable.producers
    }
    for name, norm in list(model.named_modules()):
        if isinstance(norm, nn.BatchNorm2d):
            new = GatedBatchNorm2d(norm.num_features, private=name in private)
            new.eps, new.momentum = norm.eps, norm.momentum
            new.to(norm.weight.device).load_state_dict(norm.state_dict())
            new.train(norm.training)
            model.set_submodule(name, new)


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.out_channels > 1


def _keep_outputs(layer: nn.Module, index: Tensor) -> None:
    assert isinstance(layer, nn.Conv2d)
    if _is_depthwise(layer):
        layer.groups = layer.in_channels = len(index)
    layer.out_channels = len(index)
    layer.weight = nn.Parameter(layer.weight.detach()[index])
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[index])


def _keep_inputs(layer: nn.Module, index: Tensor) -> None:
    assert isinstance(layer, nn.Conv2d)
    layer.in_channels = len(index)
    layer.weight = nn.Parameter(layer.weight.detach()[:, index])


def _keep_channels(norm: nn.Module, index: Tensor) -> None:
    assert isinstance(norm, nn.BatchNorm2d)
    norm.num_features = len(index)
    norm.weight = nn.Parameter(norm.weight.detach()[index])
    norm.bias = nn.Parameter(norm.bias.detach()[index])
    for name in ("running_mean", "running_var"):
        norm.register_buffer(name, norm.get_buffer(name)[index])
