"""From an inference twin to an ONNX graph with names that say what is what.

The exporter of PyTorch writes the graph. Before, input quantizers and the outputs of layers are
marked by operators of this package; after, each marker gives way to the operators of a format.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common as passes
from onnxscript.optimizer import fold_constants
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from sbs.errors import SBSError
from sbs.export.inputs import InputQuantizer
from sbs.export.twin import TwinLayer
from sbs.provenance.files import atomic_write
from sbs.training.batch import mapped

DOMAIN = "sbs"
INPUT, OUTPUT = "InputQuantizer", "LayerOutput"
EXPORTED_OPSET = 18
"""Opset of the exporter's operators; newer ones only add types to those that networks use."""


class Builder:
    """Adds nodes to a graph, in front of one of its nodes."""

    def __init__(self, graph: ir.Graph, before: ir.Node) -> None:
        self._graph, self._before = graph, before

    def tensor(self, name: str, value: ir.TensorProtocol) -> ir.Value:
        """An initializer; one of this name is used again."""
        known = self._graph.initializers.get(name)
        if known is not None:
            return known
        new = ir.Value(
            name=name,
            shape=ir.Shape(value.shape.numpy()),
            type=ir.TensorType(value.dtype),
            const_value=value,
        )
        self._graph.register_initializer(new)
        return new

    def number(self, value: float | Tensor) -> ir.Value:
        """A number in single precision, as an initializer whose name is the number itself."""
        single = np.float32(float(value))
        return self.tensor(str(single), ir.tensor(single))

    def call(
        self,
        operator: str,
        *inputs: ir.Value | None,
        domain: str = "",
        attributes: Mapping[str, int | str] | None = None,
    ) -> ir.Value:
        """Result of a new node."""
        node = ir.node(operator, inputs, attributes, domain=domain)
        self._graph.insert_before(self._before, node)
        return node.outputs[0]


InputOperators = Callable[[Builder, str, InputQuantizer, ir.Value], ir.Value]
"""Adds the operators of an input quantizer: builder, its name, the quantizer, its input."""

WeightOperators = Callable[[Builder, str], ir.Value]
"""Adds the operators of the weights of a layer: builder, name of the layer."""


def graph_model(
    twin: nn.Module,
    example_inputs: Sequence[Any],
    quantized: Sequence[str],
    of_weights: WeightOperators,
    of_input: InputOperators,
    *,
    any_batch: bool = True,
) -> ir.Model:
    """The ONNX model of a network.

    Args:
        twin: network of :func:`sbs.export.twin.inference_twin`; not changed.
        example_inputs: arguments of the network: tensors (N, ...), also in tuples, lists and
            dictionaries. Others, such as numbers, become constants.
        quantized: layers whose weights are made by ``of_weights``.
        of_weights: operators of quantized weights.
        of_input: operators of input quantizers.
        any_batch: leave the batch size free; otherwise it is that of the example.

    Raises:
        SBSError: PyTorch cannot export the network.
    """
    model = _exported(twin, example_inputs, any_batch=any_batch)
    graph = model.graph
    for name in quantized:
        weight = graph.initializers[f"{name}.weight"]
        decoded = of_weights(Builder(graph, graph[0]), name)
        decoded.shape, decoded.type = weight.shape, weight.type
        weight.replace_all_uses_with(decoded)
        del graph.initializers[f"{name}.weight"]
        decoded.name = f"{name}.weight"
    _clean(model, set(dict(twin.named_parameters())))
    for node in list(graph):
        if node.domain == DOMAIN:
            _replace_marker(graph, node, twin, of_input)
    _trim(model)
    return model


def shrink(model: ir.Model) -> None:
    """Drop names of nodes, and attributes that have their default value.

    In a small network of 2-bit weights the graph would otherwise be as large as the weights.
    """
    for node in model.graph:
        node.name = None
        for key in [key for key, value in node.attributes.items() if _is_default(node, value)]:
            del node.attributes[key]


def save(model: ir.Model, opset: int, path: Path) -> None:
    """Write a model atomically, at the lowest version of the format that has this opset.

    Args:
        model: the model.
        opset: version of the standard operators.
        path: file to write.
    """
    model.opset_imports[""] = opset
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]  # who needs the shapes infers them
    proto.ir_version = onnx.helper.find_min_ir_version_for(
        [one for one in proto.opset_import if one.domain == ""]
    )
    with atomic_write(path) as temporary:
        Path(temporary).write_bytes(proto.SerializeToString(deterministic=True))


class _Marker(nn.Module):
    def __init__(self, kind: str, name: str) -> None:
        super().__init__()
        self.kind, self.name = kind, name

    def forward(self, x: Tensor) -> Tensor:
        return _marked(x, self.kind, self.name)


def _marked(x: Tensor, kind: str, name: str) -> Tensor:
    return torch.onnx.ops.symbolic(
        f"{DOMAIN}::{kind}", (x,), {"name": name}, dtype=x.dtype, shape=x.shape, version=1
    )


def _exported(twin: nn.Module, example_inputs: Sequence[Any], *, any_batch: bool) -> ir.Model:
    marked = copy.deepcopy(twin)
    for name, module in list(marked.named_modules()):
        if isinstance(module, InputQuantizer):
            marked.set_submodule(name, _Marker(INPUT, name))
        elif isinstance(module, TwinLayer):
            module.register_forward_hook(lambda _, __, y, name=name: _marked(y, OUTPUT, name))
    marked.eval()
    examples, sizes = tuple(example_inputs), None
    if any_batch:  # an example of one image would fix the batch size
        examples = mapped(examples, lambda x: torch.cat([x, x]))
        sizes = tree_map(_free_batch, examples)
    try:
        with warnings.catch_warnings():
            # Inputs that share their batch size also share its name.
            warnings.filterwarnings("ignore", "# The axis name: batch will not be used")
            # Numbers among the arguments are constants; the batch size then has no name.
            warnings.filterwarnings("ignore", "# ONNX model has different number of inputs")
            program = torch.onnx.export(
                marked,
                (*examples, {}),  # a dictionary at the end would be taken for named arguments
                dynamo=True,
                optimize=False,
                opset_version=EXPORTED_OPSET,
                dynamic_shapes=sizes,
                verbose=False,
            )
    except Exception as error:  # the exporter runs the network's own code
        raise SBSError(
            f"{type(twin).__name__}: PyTorch cannot export the network ({error})"
        ) from error
    assert program is not None
    return program.model


def _free_batch(argument: Any) -> dict[int, Any] | None:
    return {0: torch.export.Dim("batch")} if isinstance(argument, Tensor) else None


def _clean(model: ir.Model, parameters: set[str]) -> None:
    """Compute what is constant, except weights; the exporter adds zeros where there is no bias."""
    fold_constants(model, should_fold=_folds)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    for node in model.graph:
        bias = node.inputs[2] if node.op_type == "Conv" and len(node.inputs) == 3 else None
        if bias is not None and bias.name not in parameters:
            node.resize_inputs(2)


def _trim(model: ir.Model) -> None:
    """Drop what nothing reads, and give short names to what has none."""
    for run in (
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.ClearMetadataAndDocStringPass(),
    ):
        run(model)
    ends = [*model.graph.inputs, *model.graph.outputs]
    for value in ends:
        value.metadata_props.clear()
    named = {value.name for value in ends}
    for number, node in enumerate(model.graph):
        node.name = f"n{number}"
        for index, value in enumerate(node.outputs):
            if value.name is None or not (value.name in named or "." in value.name):
                value.name = f"v{number}_{index}" if index else f"v{number}"
    passes.NameFixPass()(model)


def _is_default(node: ir.Node, attribute: ir.Attr) -> bool:
    """Whether a standard operator does the same without this attribute."""
    if node.domain:
        return False
    if node.op_type == "Conv" and attribute.name in ("strides", "dilations"):
        return set(attribute.as_ints()) == {1}
    schema = onnx.defs.get_schema(node.op_type, EXPORTED_OPSET)
    default = schema.attributes[attribute.name].default_value
    if default.type == onnx.AttributeProto.UNDEFINED:
        return False
    return bool(ir.serde.deserialize_attribute(default).value == attribute.value)


def _folds(node: ir.Node) -> bool | None:
    """Never the weights; of the rest, what the optimizer thinks worth it."""
    return False if node.op_type in ("DequantizeLinear", "IntQuant") else None


def _replace_marker(
    graph: ir.Graph, node: ir.Node, twin: nn.Module, of_input: InputOperators
) -> None:
    name = node.attributes["name"].as_string()
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None
    if node.op_type == OUTPUT:
        source.name = f"{name}.output"
        new = source
    else:
        quantizer = twin.get_submodule(name)
        assert isinstance(quantizer, InputQuantizer)
        new = of_input(Builder(graph, node), name, quantizer, source)
    result.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(node, safe=True)
