"""Quantizers by name: one new object is all that a new one takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sbs.errors import SBSError
from sbs.export.packed import export, load
from sbs.kernels import fused as kernels
from sbs.networks import build_network, get_spec
from sbs.nn.quantizers import LayerQuantizer, Quantizer, base, get_quantizer, register
from sbs.policy import Policy, uniform_policy
from sbs.surgery.layers import leaf_layers
from sbs.surgery.networks import quantized_network

IMAGES = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


class Halves(LayerQuantizer):
    """Weights are multiples of a half, inputs as in SBS."""

    name = "halves"

    def fake_quantize_weight(self, w: Tensor, interval: Tensor, bits: int) -> Tensor:
        top = 2 ** (bits - 1)
        return w + ((2 * w).round().clamp(-top, top - 1) / 2 - w).detach()

    def fake_quantize_input(
        self, x: Tensor, interval: Tensor, bits: int, *, signed: bool
    ) -> Tensor:
        return kernels.fake_quantize(x, interval, bits, signed=signed)

    def scale_and_offset(self, interval: Tensor, bits: int) -> tuple[float, float]:
        return 0.5, -(2 ** (bits - 1)) / 2


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> Quantizer:
    monkeypatch.setattr(base, "_QUANTIZERS", dict(base._QUANTIZERS))
    return register(Halves())


def test_a_new_quantizer_is_one_object(halves: Quantizer, tmp_path: Path) -> None:
    assert get_quantizer("halves") is halves
    plain, spec = build_network("resnet20", 10, 1), get_spec("resnet20")
    policy = uniform_policy("resnet20", list(leaf_layers(plain)), 4)
    policy = policy.model_copy(update={"quantizer": "halves"})
    policy.save(tmp_path / "policy.json")
    model = quantized_network(plain, spec, Policy.load(tmp_path / "policy.json"))
    model.train()(IMAGES).sum().backward()
    export(model.eval(), policy, tmp_path / "network.safetensors")
    with torch.no_grad():
        again = load(tmp_path / "network.safetensors")
        assert torch.equal(again(IMAGES), model(IMAGES))
        weight = again.get_parameter("layer1.0.conv1.weight")
    assert torch.equal(2 * weight, (2 * weight).round())


def test_two_quantizers_of_one_name_are_refused(halves: Quantizer) -> None:
    other = type("Other", (Halves,), {})
    with pytest.raises(SBSError, match="two quantizers are called 'halves'"):
        register(other())


def test_an_unknown_quantizer_is_refused() -> None:
    model = build_network("resnet20", 10, 1)
    policy = uniform_policy("resnet20", list(leaf_layers(model)), 4)
    policy = policy.model_copy(update={"quantizer": "thirds"})
    with pytest.raises(SBSError, match=r"quantizer: 'thirds' is not known; use one of .*interval"):
        quantized_network(model, get_spec("resnet20"), policy)
