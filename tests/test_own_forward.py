"""Layers with a forward pass of their own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sbs
from sbs.networks.own_forward import split_layers
from sbs.networks.structure import structure_of


class SameConv2d(nn.Conv2d):
    """Pads more on one side than on the other, as TensorFlow does at stride 2."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 1, 0, 1))
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)


class PaddingConv2d(nn.Conv2d):
    """Pads by a module."""

    def __init__(self, *sizes: int, **options: int) -> None:
        super().__init__(*sizes, **options)
        self.pad = nn.ReflectionPad2d(1)

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(self.pad(x), weight, bias, stride=self.stride)


class NamedConv2d(nn.Conv2d):
    """Does what PyTorch does."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class RectifyingLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.relu(x), self.weight, self.bias)


class StandardizedConv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight - self.weight.mean(), self.bias)


class RectifiedConv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias).relu()


class BranchingConv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 0 else -x)


class NoisyConv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = F.dropout(x, 0.1)
        return F.conv2d(x, self.weight, self.bias)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(SameConv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU()),
        *(PaddingConv2d(8, 12, 3, stride=2, bias=False), nn.BatchNorm2d(12), nn.ReLU()),
        *(NamedConv2d(12, 8, 1), nn.ReLU(), SameConv2d(8, 8, 3, groups=8), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), RectifyingLinear(8, 6), nn.Linear(6, 5)),
    )


def test_layers_that_change_their_input_are_split_and_compute_the_same() -> None:
    model, x = network(), torch.randn(2, 3, 17, 17)
    split = split_layers(copy.deepcopy(model))
    assert torch.equal(split(x), model(x))
    whole = {name for name in structure_of(split).layers if not name.endswith(".layer")}
    assert whole == {"6", "13"}
    assert type(split[6]) is nn.Conv2d
    assert structure_of(split).alone == {}
    assert [one.layer for one in structure_of(split).prunables] == ["3.layer", "6"]
    first = dict(model.named_parameters())["0.weight"]
    kept = split_layers(model)
    assert dict(kept.named_parameters())["0.layer.weight"] is first
    assert str(split_layers(copy.deepcopy(kept))) == str(kept)


@pytest.mark.parametrize(
    "kind", [StandardizedConv2d, RectifiedConv2d, BranchingConv2d, NoisyConv2d]
)
def test_other_layers_stay_as_they_are(kind: type[nn.Conv2d]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), kind(8, 8, 3), nn.Conv2d(8, 5, 1))
    assert type(split_layers(model)[2]) is kind
    reason = f"2 ({kind.__name__}) has a forward pass of its own"
    assert structure_of(model).alone == {"2": reason}


def test_such_layers_are_inspected_and_counted() -> None:
    found = sbs.inspect(network(), torch.zeros(1, 3, 17, 17))
    assert found.other_macs == 0
    assert found.macs == 8 * 27 * 64 + 12 * 72 * 16 + 8 * 12 * 16 + 8 * 9 * 9 + 48 + 30
