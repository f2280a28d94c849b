"""Replace plain layers and batch norms by quantized and gated ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from sbs.errors import SBSError
from sbs.networks.eligible import Layer
from sbs.networks.structure import structure_of
from sbs.nn.batch_norm import GatedBatchNorm2d
from sbs.nn.layers import LayerOptions, QuantConv1d, QuantConv2d, QuantLayer, QuantLinear
from sbs.nn.quantizers import LayerQuantizer, get_quantizer
from sbs.policy import FULL_PRECISION, Bitwidths, Policy

L = TypeVar("L")
C1 = TypeVar("C1")
C2 = TypeVar("C2")


def leaf_layers(model: nn.Module) -> dict[str, Layer]:
    """The layers of a plain network that can be quantized, by name, in forward order."""
    found: dict[str, Layer] = {}
    for name in structure_of(model).layers:
        layer = model.get_submodule(name)
        assert isinstance(layer, Layer)
        found[name] = layer
    return found


def layer_options(model: nn.Module, policy: Policy) -> dict[str, LayerOptions]:
    """How each layer of a policy is quantized, by layer name.

    Args:
        model: the plain network; not changed.
        policy: bitwidths and quantizer.

    Raises:
        SBSError: the policy's quantizer does not work layer by layer.
    """
    quantizer = get_quantizer(policy.quantizer)
    if not isinstance(quantizer, LayerQuantizer):
        raise SBSError(
            f"the quantizer {quantizer.name!r} does not work layer by layer; use 'interval'"
        )
    structure = structure_of(model)
    return {
        name: LayerOptions(
            weight_bits=policy.layers[name].weight_bits,
            activation_bits=policy.layers[name].activation_bits,
            signed_input=name in structure.signed,
            quantize_input=name not in structure.first,
            standardize_weights=quantizer.standardizes
            and name in structure.normalized
            and policy.layers[name].weight_bits != FULL_PRECISION,
            fit_weight_interval=name not in structure.normalized | structure.last,
            quantizer=quantizer,
        )
        for name in leaf_layers(model)
    }


def empty_like(
    layer: Layer, linear: Callable[..., L], conv1d: Callable[..., C1], conv2d: Callable[..., C2]
) -> L | C1 | C2:
    """A layer of another class with the sizes of ``layer``, without memory for its parameters.

    Args:
        layer: the layer.
        linear: the class that stands for a linear layer.
        conv1d: the one for a convolution of signals.
        conv2d: the one for a convolution of images.
    """
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return linear(layer.in_features, layer.out_features, bias=bias, device="meta")
    kind: Callable[..., C1 | C2] = conv1d if isinstance(layer, nn.Conv1d) else conv2d
    return kind(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        bias,
        layer.padding_mode,
        device="meta",
    )


def swap_layer(
    model: nn.Module,
    name: str,
    layer: Layer,
    options: LayerOptions,
    bitwidths: Bitwidths | None,
) -> QuantLayer:
    """Replace ``layer`` in ``model`` by a quantized layer with its parameters; return that layer.

    Args:
        model: the network.
        name: name of ``layer`` in the network.
        layer: the plain layer.
        options: how it is quantized.
        bitwidths: candidates of its gates, or None for a fixed bitwidth.
    """
    new: QuantLayer = empty_like(layer, QuantLinear, QuantConv1d, QuantConv2d)
    for parameter, value in layer.named_parameters():
        new.register_parameter(parameter, value)
    new.setup(options, bitwidths)
    new.train(layer.training)
    model.set_submodule(name, new)
    return new


def swap_norms(model: nn.Module) -> None:
    """Replace batch norms of images by :class:`GatedBatchNorm2d`, in place."""
    for name, norm in list(model.named_modules()):
        if type(norm) is nn.BatchNorm2d and norm.affine and norm.track_running_stats:
            model.set_submodule(name, GatedBatchNorm2d.of(norm))
