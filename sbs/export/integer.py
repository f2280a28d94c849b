"""A layer of a compressed network in integer arithmetic, by onnxruntime's integer operators.

An input is ``s_x c + o_x`` and a weight ``s k + o``, with codes c and k. So an output is::

    s_x s Σ c k + s_x o Σ c + o_x s Σ k + o_x o Σ 1 + bias

with sums over the inputs that the output reads. Padding is not among them: it is the number zero,
which is no level of a signed input. The sums are 32-bit integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sbs.export.codes import Codes
from sbs.export.inputs import InputQuantizer
from sbs.export.twin import TwinLayer, TwinLinear

BYTE = 8
UNIT = 2.0**-24
"""Largest relative error of one rounding in single precision."""


class IntegerLayer:
    """A convolution or linear layer whose products and sums are those of integers."""

    def __init__(self, layer: TwinLayer, codes: Codes) -> None:
        """Create it; :func:`has_integer_form` must be true.

        Args:
            layer: the layer in floating point.
            codes: codes of its weights.
        """
        assert layer.quantizer is not None
        self._layer, self._quantizer = layer, layer.quantizer
        self._weights = codes.values
        grid = codes.grid
        # Single precision, as the decoded weights.
        self._scale, self._offset = float(np.float32(grid.scale)), float(np.float32(grid.offset))

    def __call__(self, codes: Tensor) -> Tensor:
        """Outputs in double precision, from the codes (N, ...) of the inputs."""
        return self._combine(codes, magnitudes=False)

    def rounding(self, codes: Tensor) -> Tensor:
        """Bound of the rounding errors of the layer in single precision, shaped like its output.

        Every input and weight is rounded at most three times, and a sum of n products n times more,
        in any order (Higham 2002, section 3.1).
        """
        roundings = self._layer.weight[0].numel() + 8
        return self._combine(codes, magnitudes=True) * (roundings * UNIT)

    def _combine(self, codes: Tensor, *, magnitudes: bool) -> Tensor:
        """The equation above; with ``magnitudes`` every term of every sum is made positive."""
        sign = abs if magnitudes else float
        quantizer = self._quantizer
        scale, offset = sign(self._scale), sign(self._offset)
        x_scale = float(quantizer.scale)
        x_offset = 0.0 if quantizer.offset is None else sign(float(quantizer.offset))
        c = codes.abs() if magnitudes else codes
        ones_like_input, ones_like_weight = torch.ones_like(c[:1]), torch.ones_like(self._weights)
        y = x_scale * scale * self._sums(c, self._weights)
        y = y + x_scale * offset * self._sums(c, ones_like_weight)
        if x_offset:
            y = y + x_offset * scale * self._sums(ones_like_input, self._weights)
            y = y + x_offset * offset * self._sums(ones_like_input, ones_like_weight)
        if self._layer.bias is None:
            return y
        bias = self._layer.bias.double()
        shape = (-1, *[1] * (self._weights.dim() - 2))
        return y + (bias.abs() if magnitudes else bias).view(shape)

    def _sums(self, codes: Tensor, weights: Tensor) -> Tensor:
        x = codes.to(torch.int8 if self._quantizer.lowest < 0 else torch.uint8)
        w = weights.to(torch.uint8)
        if isinstance(self._layer, nn.Linear):
            w = w.T
        (result,) = self._session.run(None, {"x": _array(x), "w": _array(w)})
        return torch.from_numpy(result).double()

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        return _session(self._layer, signed=self._quantizer.lowest < 0)


def has_integer_form(layer: nn.Module, codes: Codes | None) -> bool:
    """Whether inputs and weights of a layer are codes of at most 8 bits."""
    if not isinstance(layer, TwinLayer) or codes is None or layer.quantizer is None:
        return False
    padded = not isinstance(layer, TwinLinear) and (
        isinstance(layer.padding, str) or layer.padding_mode != "zeros"
    )
    return codes.grid.bits <= BYTE and _fits_a_byte(layer.quantizer) and not padded


def _array(x: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = x.contiguous().numpy()
    return array


def _fits_a_byte(quantizer: InputQuantizer) -> bool:
    if quantizer.lowest < 0:
        return quantizer.lowest >= -128 and quantizer.highest <= 127
    return quantizer.highest <= 255


def _session(layer: TwinLayer, *, signed: bool) -> onnxruntime.InferenceSession:
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.INT8 if signed else ir.DataType.UINT8))
    w = ir.Value(name="w", type=ir.TensorType(ir.DataType.UINT8))
    if not isinstance(layer, TwinLinear):
        assert not isinstance(layer.padding, str)
        places: dict[str, int | Sequence[int]] = {
            "strides": layer.stride,
            "pads": (*layer.padding, *layer.padding),
            "dilations": layer.dilation,
            "group": layer.groups,
        }
        node = ir.node("ConvInteger", [x, w], places)
    else:
        node = ir.node("MatMulInteger", [x, w])
    y = node.outputs[0]
    y.name, y.type = "y", ir.TensorType(ir.DataType.INT32)
    graph = ir.Graph([x, w], [y], nodes=[node], opset_imports={"": 18})
    content = ir.to_proto(ir.Model(graph, ir_version=8)).SerializeToString()
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
