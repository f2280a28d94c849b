"""The network of a policy, and its weights."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

from sbs.networks import NetworkSpec
from sbs.networks.own_forward import split_layers
from sbs.nn.layers import QuantLayer
from sbs.nn.quantizers import get_quantizer
from sbs.policy import Policy
from sbs.surgery.joins import join_norms
from sbs.surgery.layers import layer_options, leaf_layers, swap_layer, swap_norms
from sbs.surgery.pruning import remove_filters

INTERVALS = ("weight_interval", "activation_interval")


def quantized_network(
    model: nn.Module, spec: NetworkSpec, policy: Policy, *, plain: Collection[str] = ()
) -> nn.Module:
    """The network of ``policy``: pruned filters removed, layers at their bitwidths.

    Args:
        model: plain network as ``spec`` describes it; its modules and parameters are reused, and
            its layers are split (:func:`sbs.networks.own_forward.split_layers`).
        spec: description of the network.
        policy: bitwidths and kept filters; checked against the network.
        plain: layers that are not quantized, whatever the policy says.

    Raises:
        SBSError: the policy does not fit the network.
    """
    split_layers(model)
    prunables = spec.prunables(model)
    shapes = {name: tuple(layer.weight.shape) for name, layer in leaf_layers(model).items()}
    policy.check(spec.name, shapes, [prunable.layer for prunable in prunables])

    def swap_layers() -> nn.Module:
        options = layer_options(model, policy)
        remove_filters(model, prunables, policy)
        for name, layer in leaf_layers(model).items():
            if name not in plain:
                swap_layer(model, name, layer, options[name], None)
        swap_norms(model)
        return join_norms(model)

    quantizer = get_quantizer(policy.quantizer)
    return quantizer.network(model, swap_layers, spec.signed_inputs(model))


def quantized_layers(model: nn.Module) -> dict[str, QuantLayer]:
    """Quantized layers by name."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, QuantLayer)
    }


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """State dict of a quantized or search network: weights and intervals, without gates."""
    gated = (".weight_gate.", ".activation_gate.", ".filter_gate.")
    return {
        name: value.detach().cpu().contiguous()
        for name, value in model.state_dict().items()
        if not any(part in name for part in gated)
    }


def split_intervals(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split a state dict into the entries of the plain network and the quantization intervals."""
    intervals = {name: value for name, value in state.items() if name.endswith(INTERVALS)}
    return {name: value for name, value in state.items() if name not in intervals}, intervals
