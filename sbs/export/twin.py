"""A network of a policy in PyTorch's own operators, for tools that know nothing of this package.

Layers become plain convolutions and linear layers. They hold the weights that their codes stand
for. Input quantizers become a few operators, with the roundings of
:mod:`sbs.quantization.uniform` and :mod:`sbs.quantization.peers`. Batch norms that were joined
with a quantizer stand alone again.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn

from sbs.errors import SBSError
from sbs.export.codes import Codes, layers_of
from sbs.export.inputs import InputQuantizer, fixed_point_input, input_of
from sbs.networks.eligible import Layer
from sbs.nn.batch_norm import GatedBatchNorm2d
from sbs.nn.fixed_point import DQReLU
from sbs.nn.joined import normalized_and_quantized
from sbs.nn.layers import QuantLayer
from sbs.nn.quantizers.dq import input_quantizer
from sbs.surgery.layers import empty_like


class TwinConv1d(nn.Conv1d):
    """Convolution of signals, as below."""

    quantizer: InputQuantizer | None

    def multiply(self, x: Tensor) -> Tensor:
        """Outputs from inputs that are quantized already; shapes as below."""
        return super().forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, L) to (N, filters, L')."""
        return self.multiply(x if self.quantizer is None else self.quantizer(x))


class TwinConv2d(nn.Conv2d):
    """Convolution with decoded weights; ``quantizer`` comes first if it has one."""

    quantizer: InputQuantizer | None

    def multiply(self, x: Tensor) -> Tensor:
        """Outputs from inputs that are quantized already; shapes as below."""
        return super().forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, filters, H', W')."""
        return self.multiply(x if self.quantizer is None else self.quantizer(x))


class TwinLinear(nn.Linear):
    """Linear layer with decoded weights; ``quantizer`` comes first if it has one."""

    quantizer: InputQuantizer | None

    def multiply(self, x: Tensor) -> Tensor:
        """Outputs from inputs that are quantized already; shapes as below."""
        return super().forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, features) to (N, outputs)."""
        return self.multiply(x if self.quantizer is None else self.quantizer(x))


TwinLayer = TwinConv1d | TwinConv2d | TwinLinear


@torch.no_grad()
def inference_twin(model: nn.Module, codes: Mapping[str, Codes]) -> nn.Module:
    """The network in PyTorch's own operators, on the CPU, for inference.

    Names of layers, and of other modules with parameters, stay.

    Args:
        model: network of :func:`sbs.surgery.networks.quantized_network`; not changed.
        codes: codes of its weights, by layer (:func:`sbs.export.codes.weight_codes`).

    Raises:
        SBSError: the network has gates; or one of its quantizers has no form in plain operators.
    """
    twin = copy.deepcopy(model).cpu().eval()
    for module in list(twin.modules()):
        if isinstance(module, fx.GraphModule):
            _unjoin(module)
    for name, layer in layers_of(twin).items():
        weight = codes[name].weights if name in codes else layer.weight.detach()
        twin.set_submodule(name, _plain_layer(name, layer, weight))
    for name, module in list(twin.named_modules()):
        if isinstance(module, GatedBatchNorm2d):
            twin.set_submodule(name, _plain_norm(module))
        elif isinstance(module, DQReLU):
            twin.set_submodule(name, fixed_point_input(module.quantizer))
    return twin.requires_grad_(False)


def _unjoin(module: fx.GraphModule) -> None:
    """Undo :func:`sbs.surgery.joins.join_norms`: norm, addition and ReLU are nodes again."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.target is normalized_and_quantized:
            norm, _, raw, residual = node.args
            with graph.inserting_before(node):
                values = graph.call_module(norm.target, (raw,))
                if residual is not None:
                    values = graph.call_function(operator.add, (values, residual))
                if node.kwargs["relu"]:
                    values = graph.call_function(torch.relu, (values,))
            for item in list(node.users):
                item.replace_all_uses_with(values)
                graph.erase_node(item)
            graph.erase_node(node)
    for node in graph.nodes:
        if node.op == "call_module" and "quantized" in node.kwargs:
            node.kwargs = {}
    graph.eliminate_dead_code()
    module.recompile()


def _plain_layer(name: str, layer: Layer, weight: Tensor) -> TwinLayer:
    if isinstance(layer, QuantLayer):
        if layer.weight_gate is not None or layer.filter_gate is not None:
            raise SBSError(f"{name}: has gates; export the network of a policy, not of a search")
        quantizer = input_of(name, layer)
    else:
        own = input_quantizer(layer)
        quantizer = None if own is None else fixed_point_input(own)
    new: TwinLayer = empty_like(layer, TwinLinear, TwinConv1d, TwinConv2d)
    new.weight = nn.Parameter(weight)
    if layer.bias is not None:
        new.bias = nn.Parameter(layer.bias.detach())
    new.quantizer = quantizer
    return new.eval()


def _plain_norm(norm: GatedBatchNorm2d) -> nn.BatchNorm2d:
    new = nn.BatchNorm2d(norm.num_features, norm.eps, device="meta")
    new.load_state_dict(norm.state_dict(), assign=True)
    return new.eval()
