"""`sbs verify`: a network in ONNX, its packed file, and the same layers in integer arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F
from typer.testing import CliRunner

import sbs
from sbs.cli import app
from sbs.errors import SBSError
from sbs.export.codes import Codes
from sbs.export.inputs import InputQuantizer, IntervalInput, SymmetricInput
from sbs.export.integer import IntegerLayer, has_integer_form
from sbs.export.onnx_file import export_onnx
from sbs.export.packed import export, read
from sbs.export.twin import TwinConv2d, TwinLayer, TwinLinear
from sbs.export.verify import Comparison, compare
from sbs.quantization.grid import WeightGrid
from tests.test_export import IMAGES, mixed
from tests.test_onnx import uniform_network

Files = tuple[Path, Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """ResNet-20 with 4 bits for images of one channel and 8 x 8 pixels: ONNX, and packed."""
    torch.manual_seed(0)
    model, policy = uniform_network("resnet20", 4, channels=1)
    folder = tmp_path_factory.mktemp("network")
    export_onnx(model, policy, (IMAGES[:1, :1, :8, :8],), folder / "net.onnx")
    export(model, policy, folder / "net.sbs")
    return folder / "net.onnx", folder / "net.sbs"


def call(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["verify", *map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.output


def coded_layer(layer: TwinLayer, quantizer: InputQuantizer) -> Codes:
    """Give a layer random codes of 4 bits as weights, and a quantizer."""
    grid = WeightGrid(4, tuple(layer.weight.shape), 2 * 0.8 / 15, -0.8)
    codes = Codes(grid, torch.randint(0, 16, layer.weight.shape))
    layer.weight.data = codes.weights
    layer.quantizer = quantizer
    return codes


LAYERS: list[Callable[[], TwinLayer]] = [
    lambda: TwinConv2d(8, 4, 3, stride=2, padding=1),
    lambda: TwinConv2d(8, 8, 5, padding=2, groups=8, bias=False),
    lambda: TwinConv2d(8, 4, 3, padding=(2, 1), dilation=2),
    lambda: TwinLinear(8, 5),
]


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize(
    "quantizer",
    [
        IntervalInput(1.3, 8, signed=False),
        IntervalInput(1.3, 2, signed=True),
        SymmetricInput(1.3, 8),
    ],
    ids=["unsigned", "signed", "symmetric"],
)
def test_integers_give_what_exact_arithmetic_gives(
    make: Callable[[], TwinLayer], quantizer: InputQuantizer
) -> None:
    """Also at the padding, where a signed input has no level for zero."""
    layer = make()
    weights = coded_layer(layer, quantizer)
    assert has_integer_form(layer, weights)
    shape = (3, 8) if isinstance(layer, TwinLinear) else (3, 8, 9, 9)
    codes = quantizer.codes(2 * torch.randn(shape)).detach()
    with torch.no_grad():
        single = layer.multiply(quantizer.values(codes))
        exact = exactly(layer, weights, codes)
        integer = IntegerLayer(layer, weights)
        torch.testing.assert_close(integer(codes), exact, atol=1e-12, rtol=1e-12)
        error, bound = (single - exact).abs(), integer.rounding(codes)
    assert (error <= bound).all()
    assert bound.max() < 1e-3 * exact.abs().max()


def exactly(layer: TwinLayer, weights: Codes, codes: Tensor) -> Tensor:
    """The layer in double precision, on values that are not rounded to single precision."""
    assert layer.quantizer is not None
    offset = 0.0 if layer.quantizer.offset is None else float(layer.quantizer.offset)
    x = codes.double() * float(layer.quantizer.scale) + offset
    grid = weights.grid
    w = weights.values.double() * float(np.float32(grid.scale)) + float(np.float32(grid.offset))
    bias = None if layer.bias is None else layer.bias.double()
    if isinstance(layer, TwinLinear):
        return F.linear(x, w, bias)
    places = layer.stride, layer.padding, layer.dilation, layer.groups
    return F.conv2d(x, w, bias, *places)  # type: ignore[arg-type]


@pytest.mark.parametrize("quantizer", ["interval", "dorefa_pact", "linear", "dq"])
def test_the_files_of_a_network_agree(quantizer: str, tmp_path: Path) -> None:
    model, policy = mixed(quantizer)
    export_onnx(model, policy, (IMAGES[:1],), tmp_path / "net.onnx")
    export(model, policy, tmp_path / "net.sbs")
    found = compare(tmp_path / "net.onnx", read(tmp_path / "net.sbs"), IMAGES.split(5))
    assert_agrees(found, len(IMAGES))
    if quantizer != "dq":  # its quantizers stand alone; the inputs of layers are their values
        assert [layer.name for layer in found.layers if layer.integer is None] == ["conv1"]


def test_files_with_signed_inputs_and_depthwise_layers_agree(tmp_path: Path) -> None:
    model, policy = uniform_network("mobilenet_v3", 4)
    export_onnx(model, policy, (IMAGES[:1],), tmp_path / "net.onnx")
    export(model, policy, tmp_path / "net.sbs")
    found = compare(tmp_path / "net.onnx", read(tmp_path / "net.sbs"), [IMAGES[:4]])
    assert found.agrees, str(found)
    assert sum(layer.integer is not None for layer in found.layers) == len(policy.layers) - 1


def assert_agrees(found: Comparison, images: int) -> None:
    assert found.agrees, str(found)
    assert found.predictions == images
    assert all(layer.weights for layer in found.layers if layer.weights is not None)
    assert max(layer.rounding for layer in found.layers) < 1


def test_the_command_says_yes(files: Files, digits_file: Path) -> None:
    status, text = call(*files)
    assert (status, text.splitlines()[-1]) == (0, "same network: yes")
    assert "\n64 of 64 predictions are the same" in text
    status, text = call(*files, "--data", digits_file)
    assert (status, text.splitlines()[-1]) == (0, "same network: yes")
    assert " of 450 predictions" in text


class TwoInputs(nn.Module):
    """A signal and a number to one value for each item."""

    def __init__(self) -> None:
        super().__init__()
        self.signal = nn.Sequential(nn.Conv1d(1, 8, 3), nn.ReLU(), nn.Conv1d(8, 8, 3), nn.ReLU())
        self.hidden, self.out = nn.Linear(9, 8), nn.Linear(8, 1)

    def forward(self, signal: Tensor, number: Tensor) -> Tensor:
        """Map (N, 1, L) and (N, 1) to (N,)."""
        read = torch.cat([self.signal(signal).mean(2), number], 1)
        result: Tensor = self.out(F.relu(self.hidden(read))).squeeze(1)
        return result


def test_the_command_takes_a_network_of_ones_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = TwoInputs()
    batches = [(torch.randn(8, 1, 16), torch.randn(8, 1))] * 20
    result = sbs.compress(
        model,
        batches,
        "4-bit",
        loss=lambda model, batch: model(*batch).square().mean(),
        example_input=(torch.zeros(1, 1, 16), torch.zeros(1, 1)),
        search_epochs=5,
        epochs=0,
        verbose=False,
    )
    files = tmp_path / "net.onnx", tmp_path / "net.sbs"
    result.export(files[0])
    result.save(files[1])
    status, text = call(*files, "--model", f"{__name__}:TwoInputs")
    assert (status, text.splitlines()[-1]) == (0, "same network: yes")
    assert "predictions" not in text
    with pytest.raises(SBSError, match="give the network before compression too"):
        read(files[1])


def changed(files: Files, folder: Path, change: Callable[[onnx.GraphProto], None]) -> Path:
    """The network in ONNX after a change of its graph."""
    model = onnx.load(files[0])
    change(model.graph)
    onnx.save(model, folder / "changed.onnx")
    return folder / "changed.onnx"


def another_code(graph: onnx.GraphProto) -> None:
    tensor = next(t for t in graph.initializer if t.name == "layer2.1.conv1.codes")
    codes = numpy_helper.to_array(tensor).copy()
    codes[0, 0, 0, 0] = 15 - int(codes[0, 0, 0, 0])
    tensor.CopyFrom(numpy_helper.from_array(codes, tensor.name))


def rounded_down(graph: onnx.GraphProto) -> None:
    """Floor instead of Ceil at one layer: nearly every code is one less."""
    node = next(n for n in graph.node if n.output[0] == "layer2.1.conv1.quantizer.codes")
    node.op_type = "Floor"


def another_scale(graph: onnx.GraphProto) -> None:
    """Scale what the codes of one input stand for."""
    node = next(n for n in graph.node if "layer2.1.conv1.quantizer.codes" in n.input)
    old = next(t for t in graph.initializer if t.name == node.input[1])
    scale = numpy_helper.to_array(old) * np.float32(1.001)
    graph.initializer.append(numpy_helper.from_array(scale, "scaled"))
    node.input[1] = "scaled"


@pytest.mark.parametrize("change", [another_code, rounded_down, another_scale])
def test_a_difference_is_found_where_it_is(
    change: Callable[[onnx.GraphProto], None], files: Files, tmp_path: Path
) -> None:
    status, text = call(changed(files, tmp_path, change), files[1])
    assert status == 1
    named = text.splitlines()[-1].removeprefix("same network: no: ").split(", ")
    assert named[0] == "layer2.1.conv1"
    assert set(named) <= {"layer2.1.conv1", "layer2.1.conv2"}  # the next one reads its output


def test_files_that_do_not_belong_together_are_refused(files: Files, tmp_path: Path) -> None:
    network, packed = files
    other, policy = uniform_network("resnet20", 4)
    export(other, policy, tmp_path / "other.sbs")
    with pytest.raises(SBSError, match=r"conv1\.weight has the shape \(16, 1, 3, 3\)"):
        compare(network, read(tmp_path / "other.sbs"), [])
    other, policy = uniform_network("resnet32", 4)
    export(other, policy, tmp_path / "deeper.sbs")
    with pytest.raises(SBSError, match=r"no value 'layer1\.3\.conv1\.output'; export it from"):
        compare(network, read(tmp_path / "deeper.sbs"), [])
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(SBSError, match="cannot run the file"):
        compare(tmp_path / "text.onnx", read(packed), [])
    with pytest.raises(SBSError, match="no such ONNX file"):
        compare(tmp_path / "missing.onnx", read(packed), [])
