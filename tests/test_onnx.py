"""Networks in ONNX: onnxruntime computes what the packed file and PyTorch compute."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typer.testing import CliRunner

from sbs.cli import app
from sbs.data.augmentation import Augmentation
from sbs.data.dataset_files import load_dataset
from sbs.data.feeding import eval_batches, train_batches
from sbs.data.images import Dataset
from sbs.data.interface import TrainingBatches
from sbs.errors import SBSError
from sbs.export import onnx_file
from sbs.export.codes import weight_codes
from sbs.export.inputs import FixedPointInput, InputQuantizer, IntervalInput, SymmetricInput
from sbs.export.onnx_file import OnnxSizes, export_onnx, input_operators
from sbs.export.onnx_graph import Builder, InputOperators, graph_model, save
from sbs.export.packed import export, read
from sbs.export.twin import inference_twin
from sbs.networks import NetworkSpec, build_network, get_spec
from sbs.policy import Bitwidths, LayerPolicy, Policy, uniform_policy
from sbs.quantization import peers, uniform
from sbs.runtime.checkpoints import save_weights
from sbs.surgery.intervals import fit_intervals, sample_inputs
from sbs.surgery.layers import leaf_layers
from sbs.surgery.networks import plain_state, quantized_layers, quantized_network
from sbs.surgery.search import search_network
from tests.test_export import IMAGES, mixed

V = 0.7
"""Interval of quantizers under test."""

VALUES = torch.linspace(-1.5, 1.5, 10_001)[:, None]
"""Inputs of quantizers under test."""

Function = Callable[[Tensor], Tensor]


def session(path: Path, more_outputs: Sequence[str] = ()) -> onnxruntime.InferenceSession:
    """The model in onnxruntime, with further values as outputs."""
    model = onnx.load(path)
    for name in more_outputs:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    content = model.SerializeToString()
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def outputs(path: Path, images: Tensor, more: Sequence[str] = ()) -> list[Tensor]:
    """Logits, and further values, of images."""
    results = session(path, more).run(None, {"x": images.contiguous().numpy()})
    return [torch.from_numpy(result) for result in results]


def uniform_network(
    network: str, bits: int, channels: int = 3, ends: int = 8
) -> tuple[nn.Module, Policy]:
    """A network with the same bitwidth in all layers, after one batch of images in training."""
    torch.manual_seed(0)
    plain, spec = build_network(network, 10, channels), get_spec(network)
    policy = uniform_policy(network, leaf_layers(plain), bits, first_and_last_bits=ends)
    model = quantized_network(plain, spec, policy)
    model.train()(IMAGES[:, :channels])
    return model.eval(), policy


@pytest.mark.parametrize("quantizer", ["interval", "dorefa_pact", "linear", "dq"])
def test_weights_are_equal_bit_for_bit_and_logits_agree(quantizer: str, tmp_path: Path) -> None:
    model, policy = mixed(quantizer)
    path = tmp_path / "network.onnx"
    sizes = export_onnx(model, policy, (IMAGES[:1],), path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    export(model, policy, tmp_path / "packed.sbs")
    packed = read(tmp_path / "packed.sbs")
    logits, *weights = outputs(path, IMAGES, [f"{name}.weight" for name in packed.codes])
    for (name, codes), weight in zip(packed.codes.items(), weights, strict=True):
        assert torch.equal(weight, codes.weights), name
    with torch.no_grad():
        torch.testing.assert_close(logits, packed.model(IMAGES), atol=1e-3, rtol=1e-3)
    assert sizes.file == path.stat().st_size
    assert sizes.claimed == sum(c.values.numel() * c.grid.bits / 8 for c in packed.codes.values())


def interval_input(bits: int, *, signed: bool) -> tuple[InputQuantizer, Function]:
    v = torch.tensor(V)
    reference = partial(uniform.fake_quantize, interval=v, bits=bits, signed=signed)
    return IntervalInput(V, bits, signed=signed), reference


def fixed_point_input(*, signed: bool) -> tuple[InputQuantizer, Function]:
    step, largest = torch.tensor(0.125), torch.tensor(0.9)
    reference = partial(peers.dq_fake_quantize, step=step, largest=largest, signed=signed)
    return FixedPointInput(0.125, 0.9, signed=signed), reference


def symmetric_input(bits: int) -> tuple[InputQuantizer, Function]:
    reference = partial(peers.linear_fake_quantize, threshold=torch.tensor(V), bits=bits)
    return SymmetricInput(V, bits), reference


QUANTIZERS = [
    *(interval_input(bits, signed=signed) for bits in (1, 2, 3, 8) for signed in (False, True)),
    *(fixed_point_input(signed=signed) for signed in (False, True)),
    *(symmetric_input(bits) for bits in (2, 3, 8)),
]
"""Input quantizers, each with the function that defines it."""


class Several(nn.Module):
    """Quantizers side by side: (N, 1) to (N, quantizers)."""

    def __init__(self, quantizers: Sequence[InputQuantizer]) -> None:
        super().__init__()
        self.each = nn.ModuleList(quantizers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([quantizer(x) for quantizer in self.each], 1)


def save_quantizers(
    quantizers: Sequence[InputQuantizer], operators: InputOperators, path: Path
) -> None:
    """Write a file with nothing but quantizers, for a batch of :data:`VALUES`."""

    def no_weights(build: Builder, name: str) -> Any:
        raise AssertionError(name)

    twin = Several(quantizers).eval()
    save(graph_model(twin, [VALUES], [], no_weights, operators, any_batch=False), 18, path)


def test_input_quantizers_round_as_the_functions_that_define_them(tmp_path: Path) -> None:
    """In onnxruntime the codes are the same bit for bit."""
    quantizers = [quantizer for quantizer, _ in QUANTIZERS]
    save_quantizers(quantizers, input_operators, tmp_path / "quantizers.onnx")
    names = [f"each.{number}.codes" for number in range(len(quantizers))]
    found = outputs(tmp_path / "quantizers.onnx", VALUES, names)[1:]
    for (quantizer, function), in_onnx in zip(QUANTIZERS, found, strict=True):
        codes = quantizer.codes(VALUES)
        torch.testing.assert_close(quantizer(VALUES), function(VALUES), atol=1e-6, rtol=1e-6)
        assert (codes.min(), codes.max()) == (quantizer.lowest, quantizer.highest)
        assert torch.equal(in_onnx, codes)


def test_ties_go_down_in_onnx_too(tmp_path: Path) -> None:
    """2 bits on [0, 3]: ties at 0.5, 1.5 and 2.5; half to even would give 0, 2 and 2."""
    ties = torch.tensor([0.5, 1.5, 2.5, 0.75, 2.75]).repeat(len(VALUES) // 5 + 1)[: len(VALUES)]
    path = tmp_path / "quantizer.onnx"
    save_quantizers([IntervalInput(3.0, 2, signed=False)], input_operators, path)
    assert outputs(path, ties[:, None])[0][:5].flatten().tolist() == [0, 1, 2, 1, 3]


@pytest.mark.parametrize(("bits", "opset"), [(8, 18), (4, 21), (2, 25)])
def test_the_opset_is_the_lowest_that_the_bitwidths_allow(
    bits: int, opset: int, tmp_path: Path
) -> None:
    model, policy = uniform_network("resnet20", bits)
    sizes = export_onnx(model, policy, (IMAGES[:1],), tmp_path / "network.onnx")
    (version,) = onnx.load(tmp_path / "network.onnx").opset_import
    assert (version.domain, version.version) == ("", opset) == ("", sizes.opset)
    assert sizes.notes == ()
    assert sizes.codes == sizes.claimed
    # Nodes and names take less than a kilobyte a layer.
    assert sizes.file < sizes.claimed + sizes.floats + 1000 * len(policy.layers)


def test_the_file_of_a_larger_network_is_as_small_as_its_weights(tmp_path: Path) -> None:
    model, policy = uniform_network("resnet18", 2)
    sizes = export_onnx(model, policy, (IMAGES[:1],), tmp_path / "network.onnx")
    assert sizes.file < 1.05 * (sizes.claimed + sizes.floats)
    assert sizes.file < sum(p.numel() * p.element_size() for p in model.parameters()) / 14


def test_without_two_bits_in_onnxruntime_they_take_four(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert onnx_file.runs_two_bits()
    monkeypatch.setattr(onnx_file, "runs_two_bits", lambda: False)
    model, policy = uniform_network("resnet20", 2)
    path = tmp_path / "network.onnx"
    sizes = export_onnx(model, policy, (IMAGES[:1],), path)
    assert sizes.opset == 21
    assert sizes.notes == (
        "2-bit weights take 4 bits in ONNX: the installed onnxruntime cannot run UINT2",
    )
    (weight,) = outputs(path, IMAGES[:1], ["layer1.0.conv1.weight"])[1:]
    assert torch.equal(weight, weight_codes(model, policy)["layer1.0.conv1"].weights)


def test_twelve_bits_take_sixteen_and_more_stay_in_single_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain, spec = build_network("resnet20", 10), get_spec("resnet20")
    bits = dict.fromkeys(leaf_layers(plain), 12) | {"fc": 20, "layer1.0.conv1": 32}
    policy = Policy(
        network="resnet20",
        layers={n: LayerPolicy(weight_bits=b, activation_bits=12) for n, b in bits.items()},
    )
    model = quantized_network(plain, spec, policy).eval()
    path = tmp_path / "network.onnx"
    sizes = export_onnx(model, policy, (IMAGES[:1],), path)
    assert sizes.notes == (
        "12-bit weights take 16 bits in ONNX",
        "20-bit weights lie in the file in single precision",
    )
    with torch.no_grad():
        torch.testing.assert_close(outputs(path, IMAGES)[0], model(IMAGES), atol=1e-3, rtol=1e-3)


def test_a_network_with_signs_and_other_nonlinearities(tmp_path: Path) -> None:
    """MobileNetV3: signed inputs, squeeze and excitation, depthwise convolutions."""
    model, policy = uniform_network("mobilenet_v3", 8)
    path = tmp_path / "network.onnx"
    export_onnx(model, policy, (IMAGES[:1],), path)
    twin = inference_twin(model, weight_codes(model, policy))
    with torch.no_grad():
        torch.testing.assert_close(outputs(path, IMAGES)[0], twin(IMAGES), atol=0.05, rtol=0.05)


class Ragged(nn.Module):
    """A network whose graph in training is another one, so that nothing is joined."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, stride=2)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.first(x)))
        if self.training:
            x = F.dropout(x, 0.1)
        result: Tensor = self.fc(self.second(x).mean((2, 3)))
        return result


def test_a_network_without_one_graph(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = Ragged()
    policy = uniform_policy("ragged", leaf_layers(plain), 4)
    model = quantized_network(plain, NetworkSpec("ragged"), policy)
    assert isinstance(model, Ragged)
    path = tmp_path / "network.onnx"
    export_onnx(model.eval(), policy, (IMAGES[:1],), path)
    with torch.no_grad():
        torch.testing.assert_close(outputs(path, IMAGES)[0], model(IMAGES), atol=1e-3, rtol=1e-3)


def test_any_batch_size_and_equal_networks_give_equal_files(tmp_path: Path) -> None:
    model, policy = uniform_network("resnet20", 4)
    path = tmp_path / "network.onnx"
    export_onnx(model, policy, (IMAGES[:1],), path)
    whole = outputs(path, IMAGES)[0]
    for size in (1, 3):
        part = outputs(path, IMAGES[:size])[0]
        torch.testing.assert_close(part, whole[:size], atol=1e-3, rtol=1e-3)
    export_onnx(model, policy, (IMAGES[:5],), tmp_path / "again.onnx")
    assert path.read_bytes() == (tmp_path / "again.onnx").read_bytes()


def test_a_network_with_gates_is_refused() -> None:
    plain, spec = build_network("resnet20", 10), get_spec("resnet20")
    start = uniform_policy("resnet20", leaf_layers(plain), 8)
    gates: dict[str, Any] = {"metric": "l1", "placement": "norm"}
    search_network(plain, spec, start, bitwidths=Bitwidths([2, 4]), group_size=None, **gates)
    with pytest.raises(SBSError, match="has gates; export the network of a policy"):
        inference_twin(plain, {})


def train(model: nn.Module, batches: TrainingBatches, epochs: int) -> None:
    """Train a network on digits."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    model.train()
    for epoch in range(epochs):
        for images, labels in batches.epoch(epoch):
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()


def trained_on_digits(bits: int, digits: Dataset) -> tuple[nn.Module, Policy]:
    """ResNet-20, first in full precision, then quantized: in all, a few epochs."""
    torch.manual_seed(0)
    batches = train_batches(
        digits,
        batch_size=64,
        augmentation=Augmentation(0, flip=False),
        seed=0,
        device=torch.device("cpu"),
        channels_last=True,
    )
    plain, spec = build_network("resnet20", 10, 1), get_spec("resnet20")
    train(plain, batches, epochs=6)
    inputs = sample_inputs(plain, batches.first_batch()[0])
    policy = uniform_policy("resnet20", leaf_layers(plain), bits)
    model = quantized_network(plain, spec, policy)
    fit_intervals(quantized_layers(model), inputs)
    train(model, batches, epochs=4)
    return model, policy


@pytest.mark.parametrize("bits", [2, 4])
def test_all_predictions_on_the_test_digits_are_the_same(
    bits: int, digits_file: Path, tmp_path: Path
) -> None:
    digits = load_dataset(digits_file)
    model, policy = trained_on_digits(bits, digits)
    policy.save(tmp_path / "policy.json")
    save_weights(plain_state(model), tmp_path / "weights.safetensors")
    path, sizes = tmp_path / "network.onnx", tmp_path / "sizes.json"
    words = ["export", "--policy", str(tmp_path / "policy.json"), "--image-size", "8"]
    words += ["--weights", str(tmp_path / "weights.safetensors"), "--output", str(path)]
    done = CliRunner().invoke(app, [*words, "--sizes", str(sizes)])
    assert done.exit_code == 0, done.output
    assert f"opset {25 if bits == 2 else 21}" in done.output
    found = json.loads(sizes.read_text())
    assert OnnxSizes(**found | {"notes": ()}).file == path.stat().st_size
    hits = images = 0
    for x, labels in eval_batches(digits, device=torch.device("cpu")):
        with torch.no_grad():
            want = model(x)
        got = outputs(path, x)[0]
        assert torch.equal(got.argmax(1), want.argmax(1))
        hits += int((got.argmax(1) == labels).sum())
        images += len(labels)
    assert hits > 0.9 * images


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    inputs = ["--policy", str(tmp_path / "file"), "--weights", str(tmp_path / "file")]
    done = CliRunner().invoke(app, ["export", *inputs, "--output", "o", "--format", "tflite"])
    assert isinstance(done.exception, SBSError)
    assert "--format tflite: no such format; use one of packed, onnx, qonnx" in str(done.exception)
