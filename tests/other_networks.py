"""Networks that the paper does not have, for tests of what works on anybody's network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.resnet import Bottleneck


class UNet(nn.Module):
    """A small U-Net for segmentation: two levels, concatenated with what is upsampled."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.down1, self.down2 = self._pair(3, 8), self._pair(8, 16)
        self.bottom = self._pair(16, 32)
        self.up2, self.up1 = nn.ConvTranspose2d(32, 16, 2, stride=2), nn.Upsample(scale_factor=2)
        self.left2, self.left1 = self._pair(32, 16), self._pair(24, 8)
        self.head = nn.Conv2d(8, classes, 1)

    @staticmethod
    def _pair(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            *(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)),
            *(nn.ReLU(inplace=True), nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)),
            *(nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, classes, H, W)."""
        one = self.down1(x)
        two = self.down2(F.max_pool2d(one, 2))
        y = self.up2(self.bottom(F.max_pool2d(two, 2)))
        y = self.up1(self.left2(torch.cat([two, y], dim=1)))
        result: Tensor = self.head(self.left1(torch.cat([y, one], 1)))
        return result


class Signals(nn.Module):
    """A 1-d network with dilation, a depthwise layer, and layers without batch norm."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv1d(2, 16, 7, stride=2, padding=3)
        self.norm = nn.BatchNorm1d(16)
        self.wide = nn.Conv1d(16, 24, 3, padding=2, dilation=2, bias=False)
        self.wide_norm = nn.BatchNorm1d(24)
        self.depthwise = nn.Conv1d(24, 24, 3, padding=1, groups=24)
        self.point = nn.Conv1d(24, 20, 1)
        self.hidden = nn.Linear(20 * 4, 12)
        self.fc = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 2, L) to logits (N, classes)."""
        y = F.relu(self.norm(self.stem(x)))
        y = F.relu(self.depthwise(F.relu(self.wide_norm(self.wide(y)))))
        y = F.adaptive_avg_pool1d(F.relu(self.point(y)), 4)
        result: Tensor = self.fc(F.relu(self.hidden(y.flatten(1))))
        return result


def small_vgg() -> nn.Module:
    """VGG-11 with a classifier of some thousand weights, instead of 120 million."""
    model = models.vgg11_bn(num_classes=1, init_weights=False)
    model.avgpool = nn.AdaptiveAvgPool2d(2)
    model.classifier = nn.Sequential(
        *(nn.Linear(512 * 4, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10)),
    )
    return model


def small_convnext() -> nn.Module:
    """ConvNeXt with one block a stage."""
    stages = [CNBlockConfig(16, 32, 1), CNBlockConfig(32, 48, 1), CNBlockConfig(48, None, 1)]
    return models.ConvNeXt(stages, num_classes=10)


# Fewer blocks where all of a stage are alike.
OTHERS: dict[str, Callable[[], nn.Module]] = {
    "resnext": lambda: models.ResNet(
        Bottleneck, [2, 1, 1, 1], num_classes=10, groups=32, width_per_group=4
    ),
    "regnet_y": lambda: models.regnet_y_400mf(num_classes=10),
    "vgg11": small_vgg,
    "densenet": lambda: models.DenseNet(8, (2, 3, 2, 2), 16, num_classes=10),
    "googlenet": lambda: models.googlenet(num_classes=10, aux_logits=False, init_weights=False),
    "mnasnet": lambda: models.mnasnet0_5(num_classes=10),
    "mobilenet_v2": lambda: models.mobilenet_v2(num_classes=10),
    "mobilenet_v3": lambda: models.mobilenet_v3_small(num_classes=10),
    "efficientnet": lambda: models.efficientnet_b0(num_classes=10),
    "shufflenet": lambda: models.shufflenet_v2_x0_5(num_classes=10),
    "squeezenet": lambda: models.squeezenet1_1(num_classes=10),
    "convnext": small_convnext,
    "vit": lambda: models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=10),
    "unet": UNet,
    "signals": Signals,
}
SHAPES = {"vit": (3, 32, 32), "signals": (2, 64), "unet": (3, 32, 32)}
"""Shapes of the inputs, where they are not those of images of 64 pixels."""


def shape_of(name: str) -> tuple[int, ...]:
    """Shape of an input, without the batch."""
    return SHAPES.get(name, (3, 64, 64))


def inputs_of(name: str, count: int = 2) -> Tensor:
    """Random inputs."""
    return torch.randn(count, *shape_of(name))


def lively(model: nn.Module) -> nn.Module:
    """The network with statistics that differ from channel to channel."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.5)
            module.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return model.eval()
