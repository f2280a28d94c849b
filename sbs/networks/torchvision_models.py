"""torchvision's networks: ResNet-18, ResNet-50 and MobileNetV2 for ImageNet, and the paper's
MobileNetV3 for CIFAR-100.

The CIFAR-100 network of appendix G is MobileNetV3-Large with three changes: the stem and the first
stride-2 block have stride 1, and the squeeze widths are exactly a quarter of the expansion. This
agrees with the MAC counts that follow from the paper's BOPs. A fourth change is ours: the batch
norms' running statistics have PyTorch's momentum of 0.1. With torchvision's 0.01, made for hundreds
of epochs of ImageNet, they lag far behind the weights of a short training.
"""

from __future__ import annotations

from collections.abc import Callable
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
from sbs.networks.spec import NetworkSpec, Prunable

NETWORKS = {
    "resnet18": {"label": "ResNet-18"},
    "resnet50": {"label": "ResNet-50"},
    "mobilenet_v2": {"label": "MobileNetV2", "published": "mobilenetv2"},
    "mobilenet_v3": {"label": "MobileNetV3", "published": "mobilenetv3"},
}

RESNET: dict[str, Any] = {
    "signed_inputs": lambda model: frozenset({"conv1"}),
    "image_size": 224,
    "classes": 1000,
    "first_layer": "conv1",
    "last_layer": "fc",
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


def spec(name: str) -> NetworkSpec:
    """Description of one of :data:`NETWORKS`."""
    return next(one for one in _specs() if one.name == name)


def _specs() -> list[NetworkSpec]:
    return [
        NetworkSpec("resnet18", _plain("resnet18"), _basic, **RESNET),
        NetworkSpec("resnet50", _plain("resnet50"), _bottleneck, **RESNET),
        NetworkSpec(
            name="mobilenet_v2",
            build=_plain("mobilenet_v2"),
            prunables=_inverted_v2,
            signed_inputs=_signed_v2,
            image_size=224,
            classes=1000,
            first_layer="features.0.0",
            last_layer="classifier.1",
        ),
        NetworkSpec(
            name="mobilenet_v3",
            build=_mobilenet_v3,
            prunables=_inverted_v3,
            signed_inputs=_signed_v3,
            image_size=32,
            classes=100,
            first_layer="features.0.0",
            last_layer="classifier.3",
        ),
    ]


def _plain(name: str) -> Callable[[int, int], nn.Module]:
    return partial(_build, name)


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


def _blocks(model: nn.Module, kind: type[nn.Module]) -> list[tuple[str, nn.Module]]:
    return [(name, block) for name, block in model.named_modules() if isinstance(block, kind)]


def _basic(model: nn.Module) -> tuple[Prunable, ...]:
    return tuple(
        Prunable(f"{name}.conv1", (f"{name}.bn1",), (), (f"{name}.conv2",))
        for name, _ in _blocks(model, BasicBlock)
    )


def _bottleneck(model: nn.Module) -> tuple[Prunable, ...]:
    return tuple(
        Prunable(f"{name}.conv1", (f"{name}.bn1",), (), (f"{name}.conv2",))
        for name, _ in _blocks(model, Bottleneck)
    )


def _inverted_v2(model: nn.Module) -> tuple[Prunable, ...]:
    return tuple(
        Prunable(
            f"{name}.conv.0.0",
            (f"{name}.conv.0.1", f"{name}.conv.1.1"),
            (f"{name}.conv.1.0",),
            (f"{name}.conv.2",),
        )
        for name, block in _blocks(model, InvertedResidual)
        if len(block.conv) == 4  # type: ignore[arg-type]
    )


def _signed_v2(model: nn.Module) -> frozenset[str]:
    """The first layer, expansions and the last 1x1 layer (both read linear bottlenecks)."""
    expansions = {prunable.layer for prunable in _inverted_v2(model)}
    return frozenset({"features.0.0", "features.18.0"} | expansions)


def _inverted_v3(model: nn.Module) -> tuple[Prunable, ...]:
    found = []
    for name, block in _blocks(model, InvertedResidualV3):
        parts = list(block.block.children())  # type: ignore[union-attr]
        if len(parts) < 3 or (len(parts) == 3 and isinstance(parts[1], SqueezeExcitation)):
            continue
        prefix = f"{name}.block"
        producers, consumers = [f"{prefix}.1.0"], [f"{prefix}.{len(parts) - 1}.0"]
        if isinstance(parts[2], SqueezeExcitation):
            producers.append(f"{prefix}.2.fc2")
            consumers.append(f"{prefix}.2.fc1")
        found.append(
            Prunable(
                f"{prefix}.0.0",
                (f"{prefix}.0.1", f"{prefix}.1.1"),
                tuple(producers),
                tuple(consumers),
            )
        )
    return tuple(found)


def _signed_v3(model: nn.Module) -> frozenset[str]:
    """All layers except those after a ReLU: hard-swish and linear outputs can be negative."""
    signed = {
        name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)
    }
    for name, block in _blocks(model, InvertedResidualV3):
        rectified = not any(isinstance(module, nn.Hardswish) for module in block.modules())
        layers = [n for n, m in block.named_modules() if isinstance(m, nn.Conv2d)]
        if rectified:
            signed -= {f"{name}.{layer}" for layer in layers[1:]}
        signed -= {f"{name}.{layer}" for layer in layers if layer.endswith("fc2")}
    return frozenset(signed)
