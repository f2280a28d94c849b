"""Networks in QONNX, run by QONNX's own reference executor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes
from torch import Tensor
from typer.testing import CliRunner

from sbs.cli import app
from sbs.export.codes import weight_codes
from sbs.export.inputs import IntervalInput
from sbs.export.qonnx_file import export_qonnx, input_operators
from sbs.runtime.checkpoints import save_weights
from sbs.surgery.networks import plain_state
from tests.test_export import IMAGES, mixed
from tests.test_onnx import QUANTIZERS, VALUES, save_quantizers, uniform_network

IMAGE = IMAGES[:1]


def executed(path: Path, image: Tensor) -> dict[str, Tensor]:
    """All values of the graph; the output is also called "output"."""
    model = ModelWrapper(str(path)).transform(InferShapes())
    context = execute_onnx(model, {"x": image.numpy()}, return_full_exec_context=True)
    context["output"] = context[model.graph.output[0].name]
    return {name: torch.tensor(value) for name, value in context.items() if name}


@pytest.mark.parametrize("quantizer", ["interval", "linear", "dq"])
def test_the_reference_executor_gives_the_same_weights_and_logits(
    quantizer: str, tmp_path: Path
) -> None:
    model, policy = mixed(quantizer)
    path = tmp_path / "network.onnx"
    export_qonnx(model, policy, (IMAGE,), path)
    values = executed(path, IMAGE)
    for name, codes in weight_codes(model, policy).items():
        # (code - zero point) * scale is rounded otherwise than code * scale + offset.
        error = (values[f"{name}.weight"] - codes.weights).abs().max()
        assert error <= 1e-6 * 2**codes.grid.bits * codes.grid.scale, name
    with torch.no_grad():
        want = model(IMAGE)
    torch.testing.assert_close(values["output"], want, atol=1e-3, rtol=1e-3)


def test_inputs_round_as_the_functions_that_define_them(tmp_path: Path) -> None:
    """Values on a tie but for rounding may go to the other level; ties themselves go down."""
    quantizers = [quantizer for quantizer, _ in QUANTIZERS]
    path = tmp_path / "quantizers.onnx"
    save_quantizers(quantizers, input_operators, path)
    results = executed(path, VALUES)["output"].split(1, dim=1)
    for result, (quantizer, function) in zip(results, QUANTIZERS, strict=True):
        error = (result - function(VALUES)).abs()
        assert (error > 1e-6).sum() <= 3
        assert error.max() < 1.001 * quantizer.scale


def test_ties_go_down(tmp_path: Path) -> None:
    """2 bits on [0, 3], and 2 bits on [-1.5, 1.5], where a tie is at 0."""
    quantizers = [IntervalInput(3.0, 2, signed=False), IntervalInput(1.5, 2, signed=True)]
    path = tmp_path / "quantizers.onnx"
    save_quantizers(quantizers, input_operators, path)
    ties = torch.tensor([0.5, 1.5, 2.5, -1.0, 0.0]).repeat(len(VALUES) // 5 + 1)[: len(VALUES)]
    first, second = executed(path, ties[:, None])["output"][:5].T.tolist()
    assert first == [0, 1, 2, 0, 0]
    assert second == [0.5, 1.5, 1.5, -1.5, -0.5]


def test_the_command_writes_it(tmp_path: Path) -> None:
    model, policy = uniform_network("resnet20", 4, channels=1)
    policy.save(tmp_path / "policy.json")
    weights, path = tmp_path / "weights.safetensors", tmp_path / "network.onnx"
    save_weights(plain_state(model), weights)
    words = ["export", "--policy", str(tmp_path / "policy.json"), "--weights", str(weights)]
    words += ["--output", str(path), "--format", "qonnx", "--image-size", "8"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "QONNX holds quantized weights in single precision" in done.output
    kinds = {node.op_type for node in ModelWrapper(str(path)).graph.node}
    assert "IntQuant" in kinds
    assert "DequantizeLinear" not in kinds
