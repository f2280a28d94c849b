"""Compressed networks as ONNX with a file as small as the bitwidths: unsigned 2, 4 or 8-bit codes.

A weight is ``code * scale + offset``: `DequantizeLinear`, then `Add`. These are the two roundings
of :meth:`sbs.quantization.grid.WeightGrid.decode`, so weights are equal bit for bit. A zero point
cannot hold the offset, which is no multiple of the scale. Inputs of layers become codes by `Clip`,
`Sub` and `Ceil`, since `QuantizeLinear` rounds ties to even. Layers compute in single precision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import onnxruntime
from torch import nn

from sbs.config.settings import Normalization
from sbs.export.codes import Codes, weight_codes
from sbs.export.inputs import FixedPointInput, InputQuantizer, IntervalInput, SymmetricInput
from sbs.export.onnx_graph import EXPORTED_OPSET, Builder, graph_model, save, shrink
from sbs.export.twin import inference_twin
from sbs.policy import Policy
from sbs.runtime.checkpoints import normalization_facts

CODES = ".codes"


@dataclass(frozen=True)
class Container:
    """An integer type of ONNX for codes.

    Attributes:
        bits: size of an element.
        type: type for NumPy; elements are packed in the file.
        opset: first version of the operators in which `DequantizeLinear` takes it.
    """

    bits: int
    type: type
    opset: int


CONTAINERS = (
    Container(2, ml_dtypes.uint2, 25),
    Container(4, ml_dtypes.uint4, 21),
    Container(8, np.uint8, 13),
    Container(16, np.uint16, 21),
)


_CODE_TYPES = {ir.DataType.from_numpy(np.dtype(one.type)) for one in CONTAINERS}


@dataclass(frozen=True)
class OnnxSizes:
    """Sizes of a network in ONNX, in bytes.

    Attributes:
        claimed: quantized weights according to the cost model, ``elements x bits / 8``.
        codes: quantized weights in their containers.
        floats: tensors in single precision: batch norms, biases, scales, unquantized weights.
        file: the whole file.
        opset: version of the operators.
        notes: what is not as the bitwidths would have it.
    """

    claimed: float
    codes: int
    floats: int
    file: int
    opset: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """What `sbs export` prints."""
        sizes = (
            f"weights {self.claimed / 1e3:.1f} KB by the cost model, {self.codes / 1e3:.1f} KB in "
            f"ONNX; in single precision {self.floats / 1e3:.1f} KB; file {self.file / 1e3:.1f} KB, "
            f"opset {self.opset}"
        )
        return "\n".join([sizes, *self.notes])


def export_onnx(
    model: nn.Module,
    policy: Policy,
    example_inputs: Sequence[Any],
    path: Path,
    normalization: Normalization | None = None,
) -> OnnxSizes:
    """Write the network of a policy as ONNX, atomically. The first dimension of inputs is free.

    Args:
        model: network of :func:`sbs.surgery.networks.quantized_network`, with trained weights.
        policy: its policy.
        example_inputs: arguments of the network, with any batch size; see
            :func:`sbs.export.onnx_graph.graph_model`.
        path: file to write.
        normalization: of the network's input images, stored as metadata; None stores none.

    Raises:
        SBSError: weights are not on the grid of their bitwidth; or the network has no form in
            ONNX.
    """
    codes = weight_codes(model, policy)
    held = {name: one for name, one in codes.items() if one.grid.bits <= CONTAINERS[-1].bits}
    containers = {name: container_of(one.grid.bits) for name, one in held.items()}

    def of_weights(build: Builder, name: str) -> ir.Value:
        return _decode(build, name, held[name], containers[name])

    twin = inference_twin(model, codes)
    exported = graph_model(twin, example_inputs, list(held), of_weights, input_operators)
    shrink(exported)
    exported.metadata_props.update(facts_of(policy, normalization))
    opset = max((one.opset for one in containers.values()), default=0)
    opset = max(opset, EXPORTED_OPSET)
    save(exported, opset, path)
    notes = _notes(codes, containers)
    return sizes_of(exported, codes, path, opset, notes)


def container_of(bits: int) -> Container:
    """The smallest container for codes of so many bits that the installed onnxruntime can run."""
    return next(one for one in CONTAINERS if one.bits >= bits and (one.bits > 2 or runs_two_bits()))


@cache
def runs_two_bits() -> bool:
    """Whether the installed onnxruntime runs `DequantizeLinear` on 2-bit integers."""
    two = CONTAINERS[0]
    codes = ir.Value(name="codes", const_value=ir.tensor(np.zeros(1, two.type)))
    scale = ir.Value(name="scale", const_value=ir.tensor(np.float32(1)))
    node = ir.node("DequantizeLinear", [codes, scale])
    result = node.outputs[0]
    result.name, result.shape = "result", ir.Shape([1])
    result.type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [], [result], nodes=[node], initializers=[codes, scale], opset_imports={"": two.opset}
    )
    proto = ir.to_proto(ir.Model(graph, ir_version=13))
    try:
        onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:  # its exceptions have no common type
        return False
    return True


def _decode(build: Builder, name: str, codes: Codes, container: Container) -> ir.Value:
    packed = ir.tensor(codes.values.numpy().astype(container.type))
    scaled = build.call(
        "DequantizeLinear",
        build.tensor(f"{name}{CODES}", packed),
        build.number(codes.grid.scale),
    )
    return build.call("Add", scaled, build.number(codes.grid.offset))


def input_operators(build: Builder, name: str, quantizer: InputQuantizer, x: ir.Value) -> ir.Value:
    """Add the operators of an input quantizer; return its values.

    Args:
        build: where to add them.
        name: name of the quantizer; its codes are called ``<name>.codes``.
        quantizer: the quantizer.
        x: its input.
    """
    scale = build.number(quantizer.scale)
    codes = _input_codes(build, name, quantizer, x, scale)
    codes.name = name + CODES
    y = build.call("Mul", codes, scale)
    if quantizer.offset is None:
        return y
    return build.call("Add", y, build.number(quantizer.offset))


def _input_codes(
    build: Builder, name: str, quantizer: InputQuantizer, x: ir.Value, scale: ir.Value
) -> ir.Value:
    """The operators of :meth:`sbs.export.inputs.InputQuantizer.codes`, one by one."""
    if isinstance(quantizer, IntervalInput):
        u = build.call("Div", x, build.number(quantizer.interval))
        z = build.call("Clip", u, build.number(-1 if quantizer.signed else 0), build.number(1))
        if quantizer.signed:
            z = build.call("Div", build.call("Add", z, build.number(1)), build.number(2))
        return _round_half_down(build, build.call("Mul", z, build.number(quantizer.steps)))
    if isinstance(quantizer, SymmetricInput):
        limit = float(quantizer.limit)
        ends = build.number(-limit), build.number(limit)
        return _round_half_down(build, build.call("Div", build.call("Clip", x, *ends), scale))
    assert isinstance(quantizer, FixedPointInput)
    magnitude = build.call("Abs", x) if quantizer.signed else x
    ends = build.number(0), build.number(quantizer.largest)
    steps = build.call("Div", build.call("Clip", magnitude, *ends), scale)
    codes = build.call("Floor", build.call("Add", steps, build.number(0.5)))
    return build.call("Mul", codes, build.call("Sign", x)) if quantizer.signed else codes


def _round_half_down(build: Builder, x: ir.Value) -> ir.Value:
    return build.call("Ceil", build.call("Sub", x, build.number(0.5)))


def facts_of(policy: Policy, normalization: Normalization | None) -> dict[str, str]:
    """Metadata of a model: network, quantizer, and normalisation of the images as JSON."""
    facts = {"network": policy.network, "quantizer": policy.quantizer}
    return facts | {
        key: json.dumps(value) for key, value in normalization_facts(normalization).items()
    }


def _notes(codes: Mapping[str, Codes], containers: Mapping[str, Container]) -> tuple[str, ...]:
    notes = set()
    for name, one in codes.items():
        container = containers.get(name)
        if container is None:
            notes.add(f"{one.grid.bits}-bit weights lie in the file in single precision")
        elif container.bits != one.grid.bits:
            reason = "" if one.grid.bits != 2 else ": the installed onnxruntime cannot run UINT2"
            notes.add(f"{one.grid.bits}-bit weights take {container.bits} bits in ONNX{reason}")
    return tuple(sorted(notes))


def sizes_of(
    exported: ir.Model, codes: Mapping[str, Codes], path: Path, opset: int, notes: tuple[str, ...]
) -> OnnxSizes:
    """Sizes of a model that is written.

    Args:
        exported: the model.
        codes: codes of its weights, by layer.
        path: its file.
        opset: version of its operators.
        notes: see :class:`OnnxSizes`.
    """
    tensors = [
        value.const_value
        for value in exported.graph.initializers.values()
        if value.const_value is not None
    ]
    return OnnxSizes(
        claimed=sum(one.grid.bits * one.values.numel() / 8 for one in codes.values()),
        codes=sum(one.nbytes for one in tensors if one.dtype in _CODE_TYPES),
        floats=sum(one.nbytes for one in tensors if one.dtype == ir.DataType.FLOAT),
        file=path.stat().st_size,
        opset=opset,
        notes=notes,
    )
