"""DQ's network: sizes, the policy that its steps and ranges stand for, and its constraint."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sbs.config.scale import Scale, stage_settings
from sbs.cost.exact import policy_cost
from sbs.cost.trace import trace_layers
from sbs.methods.dq.search import DQTask
from sbs.networks import build_network, get_spec
from sbs.nn.fixed_point import FixedPoint
from sbs.nn.quantizers.dq import dq_network, input_quantizer
from sbs.policy import Policy, uniform_policy
from sbs.quantization.peers import dq_fake_quantize
from sbs.runtime import checkpoints
from sbs.stages import pretrain, search
from sbs.stages.finetune import with_weights
from sbs.stages.stage_run import Job
from sbs.surgery.dq import fit_steps, kilobytes, layer_bits, quantizers
from sbs.surgery.intervals import sample_inputs, sample_rectified

IMAGE = (1, 8, 8)


def network(bits: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return dq_network(build_network("resnet20", 10, 1), bits)


def test_every_tensor_starts_at_the_bitwidth() -> None:
    model = network(4)
    assert {int(quantizer.bits()) for quantizer in quantizers(model)} == {4}
    signed = sum(quantizer.signed for quantizer in quantizers(model))
    # 21 convolutions, a linear layer with its bias; 19 ReLUs.
    assert (signed, len(list(quantizers(model))) - signed) == (23, 19)
    model(torch.rand(3, *IMAGE))
    plain = build_network("resnet20", 10, 1)
    norms = [module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
    elements = sum(p.numel() for p in plain.parameters()) - sum(2 * m.num_features for m in norms)
    size = float(kilobytes(model, 3, weights=True).detach())
    assert size == pytest.approx(elements * 4 / 8 / 1024)


def test_a_bias_starts_as_its_layers_weights_and_many_bits_with_a_smaller_range() -> None:
    plain = build_network("resnet20", 10, 1)
    with torch.no_grad():
        plain.get_parameter("fc.weight").clamp_(-0.5, 0.5)[0, 0] = 0.7
        plain.get_parameter("fc.bias").fill_(0.01)
    # 0.7 / 7 is between 2^-4 and 2^-3, and 0.7 / 31 between 2^-6 and 2^-5.
    for bits, step in ((4, 2**-4), (6, 2**-5)):
        model = dq_network(copy.deepcopy(plain), bits)
        for part in ("weight", "bias"):
            quantizer = model.get_submodule(f"fc.parametrizations.{part}.0")
            assert isinstance(quantizer, FixedPoint)
            assert float(quantizer.step.detach()) == step


@pytest.mark.parametrize("bits", [3, 4])
def test_fitted_steps_have_the_least_squared_error(bits: int) -> None:
    plain, images = build_network("resnet20", 10, 1), torch.rand(32, *IMAGE)
    rectified = sample_rectified(plain, images)
    weights = plain.get_parameter("layer2.1.conv2.weight").detach().clone()
    model = dq_network(plain, 4)
    fit_steps(model, rectified, bits)
    assert {int(quantizer.bits()) for quantizer in quantizers(model)} == {bits}
    for quantizer, values in (
        (model.get_submodule("layer2.1.conv2.parametrizations.weight.0"), weights),
        (model.get_submodule("layer2.1.relu1.quantizer"), rectified["layer2.1.relu1"].values),
    ):
        assert isinstance(quantizer, FixedPoint)

        def error(step: Tensor, values: Tensor = values, signed: bool = quantizer.signed) -> float:
            largest = step * (2 ** (bits - signed) - 1)
            quantized = dq_fake_quantize(values, step, largest, signed=signed)
            return float((quantized - values).square().mean())

        fitted = quantizer.step.detach()
        assert float(fitted.log2()) % 1 == 0
        assert error(fitted) == min(error(fitted * 2.0**k) for k in range(-3, 4))


def test_layers_of_other_networks_quantize_their_own_inputs() -> None:
    """All but the first, whose image has 8 bits already; with a sign where they can be negative."""
    plain, spec = build_network("mobilenet_v3", 10, 1), get_spec("mobilenet_v3")
    images = torch.rand(32, 1, 32, 32)
    samples, signed = sample_inputs(plain, images), spec.signed_inputs(plain)
    shapes = {layer.name: layer for layer in trace_layers(plain, (1, 32, 32))}
    model = dq_network(copy.deepcopy(plain), 6, signed)
    fit_steps(model, samples, 6)
    first, *others = layer_bits(model, (1, 32, 32), first_bits=8).items()
    assert first == ("features.0.0", (6, 8))
    assert dict(others) == dict.fromkeys(list(shapes)[1:], (6, 6))
    model(images)
    assert input_quantizer(model.get_submodule("features.0.0")) is None
    for name, _ in others:
        quantizer = input_quantizer(model.get_submodule(name))
        assert quantizer is not None
        assert quantizer.signed == (name in signed)
        assert quantizer.elements == len(images) * shapes[name].input_elements
    kb = sum(shapes[name].input_elements for name, _ in others) * 6 / 8 / 1024
    assert float(kilobytes(model, len(images), weights=False).detach()) == pytest.approx(kb)


def test_activations_of_one_image_count() -> None:
    model = network(4)
    sizes = []
    for batch in (1, 5):
        model(torch.rand(batch, *IMAGE))
        sizes.append(float(kilobytes(model, batch, weights=False).detach()))
    # ReLUs write 16 channels of 8x8 seven times, 32 of 4x4 and 64 of 2x2 six times each.
    elements = 7 * 16 * 64 + 6 * 32 * 16 + 6 * 64 * 4
    assert sizes == pytest.approx([elements * 4 / 8 / 1024] * 2)


def test_layers_read_the_bits_of_the_quantizer_before_them() -> None:
    model = network(4)

    def widen(path: str, bits: int) -> None:
        quantizer = model.get_submodule(path)
        assert isinstance(quantizer, FixedPoint)
        with torch.no_grad():
            quantizer.largest.copy_(quantizer.step * (2**bits - 1))

    widen("relu.quantizer", 6)
    widen("layer2.0.relu1.quantizer", 3)
    widen("layer3.2.relu2.quantizer", 7)
    bits = layer_bits(model, IMAGE, first_bits=8)
    assert bits["conv1"] == (4, 8)
    assert bits["layer1.0.conv1"] == (4, 6)
    assert bits["layer2.0.conv2"] == (4, 3)
    assert bits["layer2.0.downsample.0"] == bits["layer2.0.conv1"] == (4, 4)
    assert bits["fc"] == (4, 7)


def test_steps_and_ranges_stay_where_they_may_be() -> None:
    quantizer = FixedPoint(0.25, 4, signed=False, weights=False, device=torch.device("cpu"))
    with torch.no_grad():
        quantizer.step.fill_(5.0)
        quantizer.largest.fill_(1000.0)
    quantizer.project()
    assert float(quantizer.step.detach()) < 1
    assert float(quantizer.largest.detach()) < 255
    quantizer.step.grad = None
    (quantizer(torch.rand(1000)) * 100).sum().backward()
    assert quantizer.step.grad is not None
    assert abs(float(quantizer.step.grad)) <= float(quantizer.step.detach())


def test_penalty_counts_what_exceeds_the_allowed_size(default_scale: Scale) -> None:
    images, labels = torch.rand(4, *IMAGE), torch.arange(4)
    settings = default_scale.dq.model_copy(update={"margin": 0.0})
    losses = {}
    for share in (4 / 32, 2 / 32):
        task = DQTask(network(4).eval(), settings, share)
        losses[share] = float(task.loss((images, labels)).detach())
        over = [
            max(0.0, float(size.detach()) - allowed)
            for size, allowed in (task.sizes(True), task.sizes(False))
        ]
    expected = 0.1 * sum(value**2 for value in over)
    assert losses[2 / 32] - losses[4 / 32] == pytest.approx(expected, rel=1e-3)

    with_margin = settings.model_copy(update={"margin": 0.5})
    halved = DQTask(network(4).eval(), with_margin, 4 / 32).loss((images, labels))
    assert float(halved.detach()) == pytest.approx(losses[2 / 32], rel=1e-3)


def test_the_network_of_the_last_epoch_that_fits_is_kept(default_scale: Scale) -> None:
    model = network(4)
    task = DQTask(model, default_scale.dq, 4 / 32)
    images, labels = torch.rand(4, *IMAGE), torch.arange(4)
    ranges = {"fits": 1.0, "too large": 4.0}
    kept = None
    for kind in ("too large", "fits", "too large"):
        with torch.no_grad():
            for quantizer in quantizers(model):
                quantizer.largest.copy_(quantizer.step * 7 * ranges[kind])
        task.loss((images, labels))
        excess = task.epoch_summary()["excess"]
        assert (excess <= 0) == (kind == "fits")
        if kind == "fits":
            assert task.fitting is not None
            kept = {name: value.clone() for name, value in task.fitting.items()}
    assert kept is not None
    assert task.fitting is not None
    assert all(torch.equal(value, kept[name]) for name, value in task.fitting.items())


def test_steps_and_ranges_have_their_own_rate(default_scale: Scale) -> None:
    settings = default_scale.dq.model_copy(update={"learning_rate": 0.2, "quantizer_rate": 0.25})
    model = network(4)
    weights, scalars = DQTask(model, settings, 1.0).optimizers[0].param_groups
    assert (weights["lr"], scalars["lr"]) == (0.2, 0.05)
    assert len(scalars["params"]) == 2 * len(list(quantizers(model)))
    every = {id(p) for p in model.parameters()}
    assert {id(p) for group in (weights, scalars) for p in group["params"]} == every


def test_search_keeps_to_the_memory_and_its_files_give_the_same_network(
    default_scale: Scale, digits_file: Path, tmp_path: Path
) -> None:
    short = {
        name: getattr(default_scale, name).model_copy(update={"epochs": 3})
        for name in ("pretrain", "dq")
    }
    scale = default_scale.model_copy(update=short)

    def job(stage: str, method: str) -> Job:
        settings = stage_settings(scale, stage, {}, method)
        return Job("resnet20", method, "default", 0, "digits", tmp_path / stage, settings)

    first, record = tmp_path / "first.safetensors", tmp_path / "record.json"
    pretrain.run(job("pretrain", "fp"), digits_file, first, record, tmp_path)
    policy_path, weights = tmp_path / "policy.json", tmp_path / "weights.safetensors"
    search.run(job("search", "dq"), digits_file, first, policy_path, weights, record)
    policy = Policy.load(policy_path)
    assert policy.quantizer == "dq"

    spec, plain = get_spec("resnet20"), build_network("resnet20", 10, 1)
    shapes = trace_layers(plain, IMAGE)
    names = [shape.name for shape in shapes]
    found = policy_cost(shapes, (), policy, "memory")
    assert found <= 1.02 * policy_cost(shapes, (), uniform_policy("resnet20", names, 4), "memory")

    state = checkpoints.read_weights(weights)
    model = with_weights(plain, spec, policy, weights).eval()
    again = layer_bits(model, IMAGE, first_bits=8)
    assert {
        name: (layer.weight_bits, layer.activation_bits) for name, layer in policy.layers.items()
    } == again
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
