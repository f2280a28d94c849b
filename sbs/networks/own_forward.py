"""Layers with a forward pass of their own that first change their input, as two modules.

Networks that come from TensorFlow pad so: more on one side than on the other, in a subclass of the
convolution. Surgery replaces only layers with PyTorch's forward pass, and would leave them whole.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import fx, nn
from torch.nn import functional as F

from sbs.networks.eligible import Layer, computes_like_pytorch
from sbs.networks.graph import in_mode

FUNCTIONS = {F.conv1d, F.conv2d, F.linear}
PLACES = ("stride", "padding", "dilation", "groups")
OPERANDS = ("input", "weight", "bias", *PLACES)


def split_layers(model: nn.Module) -> nn.Module:
    """Replace such layers by PyTorch's, behind what they do to their input; in place.

    ``stem`` becomes ``stem.before`` and ``stem.layer``, or remains one module if there is nothing
    before. A layer that does anything else, to its weights or its output, stays as it is.

    Args:
        model: the network; the parameters stay the same tensors.
    """
    for name, module in list(model.named_modules()):
        if name and isinstance(module, Layer) and not computes_like_pytorch(module):
            replacement = _split(module)
            if replacement is not None:
                model.set_submodule(name, replacement.train(module.training))
    return model


def _split(module: Layer) -> nn.Module | None:
    graphs = []
    for training in (True, False):
        with in_mode(module, training=training):
            try:
                graphs.append(fx.Tracer().trace(module))
            except Exception:  # the tracer runs the layer's own code
                return None
    graph = graphs[0]
    call = _call(graph) if str(graph) == str(graphs[1]) else None
    layer = None if call is None else _plain(module, call)
    if call is None or layer is None:
        return None
    read = call.args[0] if call.args else call.kwargs["input"]
    if isinstance(read, fx.Node) and read.op == "placeholder":
        return layer
    _output(graph).args = (read,)
    for unused in (call, *graph.find_nodes(op="get_attr")):
        graph.erase_node(unused)
    before = fx.GraphModule(module, graph)
    return nn.Sequential(OrderedDict(before=before, layer=layer))


def _output(graph: fx.Graph) -> fx.Node:
    result: fx.Node = next(iter(reversed(graph.nodes)))
    return result


def _call(graph: fx.Graph) -> fx.Node | None:
    """The convolution or product with the weights, if it is the last operation."""
    result = _output(graph).args[0]
    known = isinstance(result, fx.Node) and result.target in FUNCTIONS
    return result if known and isinstance(result, fx.Node) else None


def _plain(module: Layer, call: fx.Node) -> Layer | None:
    """PyTorch's layer that does the same; None if weights are not used as they are."""
    operands: dict[str, Any] = dict(zip(OPERANDS, call.args, strict=False)) | dict(call.kwargs)
    own = {name: value for name, value in module._parameters.items() if value is not None}
    reads = [node for node in call.graph.nodes if node.op in ("get_attr", "placeholder")]
    as_they_are = all(_reads(operands.get(name), name) for name in own)
    if not as_they_are or len(reads) != len(own) + 1:
        return None
    layer = _like(module, {name: operands[name] for name in PLACES if name in operands})
    for name, value in own.items():
        layer.register_parameter(name, value)
    return layer


def _reads(operand: Any, name: str) -> bool:
    return isinstance(operand, fx.Node) and (operand.op, operand.target) == ("get_attr", name)


def _like(module: Layer, places: dict[str, Any]) -> Layer:
    """PyTorch's layer of the same size, without memory for its weights."""
    bias = module.bias is not None
    if isinstance(module, nn.Linear):
        return nn.Linear(module.in_features, module.out_features, bias, device="meta")
    kind: Any = nn.Conv1d if isinstance(module, nn.Conv1d) else nn.Conv2d
    sizes = module.in_channels, module.out_channels, module.kernel_size
    layer: Layer = kind(*sizes, bias=bias, device="meta", **places)
    return layer
