"""Join batch norms with the quantizers that read them, in the graph of a network."""

from __future__ import annotations

import operator
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn import functional as F

from sbs.errors import SBSError
from sbs.networks.graph import graph_of, in_mode
from sbs.nn.batch_norm import GatedBatchNorm2d
from sbs.nn.joined import normalized_and_quantized
from sbs.nn.layers import QuantConv1d, QuantConv2d, QuantLinear

LAYERS = (QuantConv1d, QuantConv2d, QuantLinear)
ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}
RELUS = {F.relu, torch.relu, torch.relu_, "relu", "relu_"}


@dataclass(frozen=True)
class _Chain:
    """A batch norm with what follows it, up to the layers that read it.

    Attributes:
        norm: the batch norm.
        end: the last of the norm, an addition and a ReLU: its values are read.
        residual: what is added.
        relu: whether there is a ReLU.
        between: the nodes after the norm, the end included.
    """

    norm: fx.Node
    end: fx.Node
    residual: fx.Node | None
    relu: bool
    between: tuple[fx.Node, ...]


def join_norms(model: nn.Module) -> nn.Module:
    """The network with each batch norm computed together with the first quantizer that reads it.

    Names of parameters and buffers stay. A network that torch.fx cannot trace, or that computes
    something else in training than otherwise, is returned as it is: slower, with equal results.

    Args:
        model: network with quantized layers and :class:`GatedBatchNorm2d`; its modules are reused.
    """
    graph = _only_graph(model)
    if graph is None:
        return model
    joined = fx.GraphModule(model, graph, type(model).__name__)
    modules = dict(joined.named_modules())
    for node in list(joined.graph.nodes):
        if node.op == "call_module" and isinstance(modules[node.target], GatedBatchNorm2d):
            _join(joined.graph, _chain(node, modules), modules)
    joined.recompile()
    return joined


def _only_graph(model: nn.Module) -> fx.Graph | None:
    """The graph of a network, or None if there is none or training has another."""
    leaves, graphs = (*LAYERS, GatedBatchNorm2d), []
    for training in (True, False):
        try:
            with in_mode(model, training=training):
                graphs.append(graph_of(model, leaves).graph)
        except SBSError:
            return None
    return graphs[0] if str(graphs[0]) == str(graphs[1]) else None


def _chain(norm: fx.Node, modules: dict[str, nn.Module]) -> _Chain:
    end, residual, relu = norm, None, False
    between = []
    if (added := _only_user(end)) is not None and _is_addition(added):
        residual = next(other for other in added.args if other is not end)
        end = added
        between.append(end)
    if (rectified := _only_user(end)) is not None and _is_relu(rectified, modules):
        end, relu = rectified, True
        between.append(end)
    assert residual is None or isinstance(residual, fx.Node)
    return _Chain(norm, end, residual, relu, tuple(between))


def _join(graph: fx.Graph, chain: _Chain, modules: dict[str, nn.Module]) -> None:
    readers = [user for user in chain.end.users if _reads(user, chain.end, modules)]
    if not readers or any(_writes(user, modules) for user in chain.end.users):
        return
    reader = readers[0]
    keep = len(chain.end.users) > 1
    with graph.inserting_before(chain.end):
        owners = graph.get_attr(str(chain.norm.target)), graph.get_attr(str(reader.target))
        operands = (*owners, chain.norm.args[0], chain.residual)
        both = graph.call_function(
            normalized_and_quantized, operands, {"relu": chain.relu, "keep": keep}
        )
        quantized = graph.call_function(operator.getitem, (both, 0))
        values = graph.call_function(operator.getitem, (both, 1)) if keep else None
    reader.args, reader.kwargs = (quantized,), {"quantized": True}
    if values is not None:
        chain.end.replace_all_uses_with(values)
    for node in (*reversed(chain.between), chain.norm):
        graph.erase_node(node)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _is_addition(node: fx.Node) -> bool:
    """Whether two different results are added, without a factor."""
    operands = [operand for operand in node.args if isinstance(operand, fx.Node)]
    different = len(node.args) == 2 == len(set(operands))
    return node.target in ADDITIONS and different and not node.kwargs


def _is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return type(modules[str(node.target)]) is nn.ReLU
    return node.target in RELUS


def _reads(user: fx.Node, values: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node is a layer with these values as its input."""
    layer = user.op == "call_module" and isinstance(modules[str(user.target)], LAYERS)
    return layer and user.args == (values,) and not user.kwargs


def _writes(user: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node changes its input in place."""
    if user.op == "call_module":
        return bool(getattr(modules[str(user.target)], "inplace", False))
    if user.target is operator.iadd:
        return True
    in_place = isinstance(user.target, str) and user.target.endswith("_")
    return in_place or bool(user.kwargs.get("inplace", False))
