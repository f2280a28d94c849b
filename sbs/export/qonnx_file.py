"""Compressed networks as QONNX, which FPGA tools such as FINN read.

Weights and inputs are values in single precision, followed by an `IntQuant` that says which
integers they stand for: ``value = (code - zero point) * scale``. The zero point may be any number,
so a grid without zero fits. Rounding mode HALF_DOWN rounds magnitudes, and codes are not negative
here, so it is this project's ``⌈x - 0.5⌉``. The batch size is fixed, as these tools want it.

This needs no package but onnx-ir: the operators are only named. Tests run them by the executor of
the package qonnx, which is only a dependency of development.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir
from torch import Tensor, nn

from sbs.config.settings import Normalization
from sbs.export.codes import Codes, weight_codes
from sbs.export.inputs import FixedPointInput, InputQuantizer, IntervalInput
from sbs.export.onnx_file import OnnxSizes, facts_of, sizes_of
from sbs.export.onnx_graph import EXPORTED_OPSET, Builder, graph_model, save
from sbs.export.twin import inference_twin
from sbs.policy import Policy

DOMAIN = "qonnx.custom_op.general"
NOTE = "QONNX holds quantized weights in single precision"


def export_qonnx(
    model: nn.Module,
    policy: Policy,
    example_inputs: Sequence[Tensor],
    path: Path,
    normalization: Normalization | None = None,
) -> OnnxSizes:
    """Write the network of a policy as QONNX, atomically.

    Args:
        model: network of :func:`sbs.surgery.networks.quantized_network`, with trained weights.
        policy: its policy.
        example_inputs: inputs of the batch size that the file shall have.
        path: file to write.
        normalization: of the network's input images, stored as metadata; None stores none.

    Raises:
        SBSError: weights are not on the grid of their bitwidth; or the network has no form in
            ONNX.
    """
    codes = weight_codes(model, policy)

    def of_weights(build: Builder, name: str) -> ir.Value:
        return _weights(build, name, codes[name])

    exported = graph_model(
        inference_twin(model, codes),
        example_inputs,
        list(codes),
        of_weights,
        input_operators,
        any_batch=False,
    )
    exported.opset_imports[DOMAIN] = 1
    exported.metadata_props.update(facts_of(policy, normalization))
    save(exported, EXPORTED_OPSET, path)
    return sizes_of(exported, codes, path, EXPORTED_OPSET, (NOTE,))


def _weights(build: Builder, name: str, codes: Codes) -> ir.Value:
    grid = codes.grid
    values = build.tensor(f"{name}.values", ir.tensor(codes.weights.numpy()))
    return _int_quant(build, values, grid.scale, -grid.offset / grid.scale, grid.bits)


def input_operators(build: Builder, name: str, quantizer: InputQuantizer, x: ir.Value) -> ir.Value:
    """Add the operators of an input quantizer; return its values.

    Args:
        build: where to add them.
        name: name of the quantizer.
        quantizer: the quantizer.
        x: its input.
    """
    scale = float(quantizer.scale)
    levels = quantizer.highest - quantizer.lowest
    if isinstance(quantizer, IntervalInput):
        zero = levels / 2 if quantizer.signed else 0
        return _int_quant(build, x, scale, zero, levels.bit_length())
    # These grids end below the largest code of their bitwidth, so the clipping comes first.
    largest = quantizer.highest * scale
    clipped = build.call("Clip", x, build.number(quantizer.lowest * scale), build.number(largest))
    if isinstance(quantizer, FixedPointInput):  # ties away from zero
        signed = int(quantizer.lowest < 0)
        bits = quantizer.highest.bit_length() + signed
        return _int_quant(build, clipped, scale, 0, bits, signed=signed, mode="HALF_UP")
    return _int_quant(build, clipped, scale, -quantizer.lowest, levels.bit_length())


def _int_quant(
    build: Builder,
    x: ir.Value,
    scale: float,
    zero: float,
    bits: int,
    *,
    signed: int = 0,
    mode: str = "HALF_DOWN",
) -> ir.Value:
    numbers = (build.number(value) for value in (scale, zero, bits))
    choice: dict[str, int | str] = {"signed": signed, "narrow": signed, "rounding_mode": mode}
    return build.call("IntQuant", x, *numbers, domain=DOMAIN, attributes=choice)
