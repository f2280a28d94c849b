"""torchvision's networks: ResNet-18, ResNet-50 and MobileNetV2 for ImageNet, and the paper's
MobileNetV3 for CIFAR-100.

The CIFAR-100 network of appendix G is MobileNetV3-Large with three changes: the stem and the first
stride-2 block have stride 1, and the squeeze widths are exactly a quarter of the expansion. This
agrees with the MAC counts that follow from the paper's BOPs. A fourth change is ours: the batch
norms' running statistics have PyTorch's momentum of 0.1. With torchvision's 0.01, made for hundreds
of epochs of ImageNet, they lag far behind the weights of a short training.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torchvision import models
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.mobilenetv3 import InvertedResidual as InvertedResidualV3
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops.misc import SqueezeExcitation

from sbs.errors import SBSError
from sbs.networks.spec import RegisteredNetwork

NETWORKS = {
    "resnet18": {"label": "ResNet-18"},
    "resnet50": {"label": "ResNet-50"},
    "mobilenet_v2": {"label": "MobileNetV2", "published": "mobilenetv2"},
    "mobilenet_v3": {"label": "MobileNetV3", "published": "mobilenetv3"},
}

# kernel, expansion, outputs, squeeze-and-excitation, activation, stride
MOBILENET_V3_LARGE = (
    (3, 16, 16, False, "RE", 1),
    (3, 64, 24, False, "RE", 1),
    (3, 72, 24, False, "RE", 1),
    (5, 72, 40, True, "RE", 2),
    (5, 120, 40, True, "RE", 1),
    (5, 120, 40, True, "RE", 1),
    (3, 240, 80, False, "HS", 2),
    (3, 200, 80, False, "HS", 1),
    (3, 184, 80, False, "HS", 1),
    (3, 184, 80, False, "HS", 1),
    (3, 480, 112, True, "HS", 1),
    (3, 672, 112, True, "HS", 1),
    (5, 672, 160, True, "HS", 2),
    (5, 960, 160, True, "HS", 1),
    (5, 960, 160, True, "HS", 1),
)


def spec(name: str) -> RegisteredNetwork:
    """Description of one of :data:`NETWORKS`."""
    if name == "mobilenet_v3":
        return RegisteredNetwork(
            name, (InvertedResidualV3,), build=_mobilenet_v3, image_size=32, classes=100
        )
    blocks = (BasicBlock, Bottleneck, InvertedResidual)
    build = partial(_build, name)
    return RegisteredNetwork(name, blocks, build=build, image_size=224, classes=1000)


def _build(name: str, classes: int, in_channels: int) -> nn.Module:
    if in_channels != 3:
        raise SBSError(f"{name}: needs colour images, got {in_channels} channel(s)")
    model: nn.Module = getattr(models, name)(weights=None, num_classes=classes)
    return model


def _mobilenet_v3(classes: int, in_channels: int) -> nn.Module:
    settings, inputs = [], 16
    for kernel, expansion, outputs, squeeze, activation, stride in MOBILENET_V3_LARGE:
        settings.append(
            InvertedResidualConfig(
                inputs, kernel, expansion, outputs, squeeze, activation, stride, 1, 1.0
            )
        )
        inputs = outputs
    model: nn.Module = MobileNetV3(
        settings,
        last_channel=1280,
        num_classes=classes,
        block=partial(InvertedResidualV3, se_layer=_squeeze),
        norm_layer=partial(nn.BatchNorm2d, eps=0.001, momentum=0.1),
    )
    stem = model.get_submodule("features.0.0")
    assert isinstance(stem, nn.Conv2d)
    stem.stride = (1, 1)
    if in_channels != stem.in_channels:
        shape = (stem.out_channels, in_channels, *stem.kernel_size)
        stem.in_channels, stem.weight = in_channels, nn.Parameter(torch.empty(shape))
        nn.init.kaiming_normal_(stem.weight, mode="fan_out")  # as torchvision starts it
    return model


def _squeeze(channels: int, _rounded: int, **options: Any) -> SqueezeExcitation:
    return SqueezeExcitation(
        channels, channels // 4, activation=nn.ReLU, scale_activation=nn.Hardsigmoid
    )
