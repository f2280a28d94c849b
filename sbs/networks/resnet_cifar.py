"""ResNets for small images, with 1x1-convolution shortcuts (He et al. 2016, option B).

Post-activation blocks, with the parameter names of the public checkpoints of
chenyaofo/pytorch-cifar-models. The paper's own networks are probably pre-activation; both variants
have the same operations and memory.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from sbs.networks.spec import RegisteredNetwork

NETWORKS = {
    "resnet20": {"label": "ResNet-20"},
    "resnet32": {"label": "ResNet-32"},
    "resnet44": {"label": "ResNet-44"},
    "resnet56": {"label": "ResNet-56"},
}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        result: Tensor = self.relu2(y + self.downsample(x))
        return result


class CifarResNet(nn.Module):
    """One 3x3 convolution, then three stages of basic blocks; depth 6 n + 2."""

    def __init__(
        self,
        depth: int,
        classes: int,
        in_channels: int,
        widths: tuple[int, int, int] = (16, 32, 64),
    ) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        self.layer1 = _stage(widths[0], widths[0], blocks, stride=1)
        self.layer2 = _stage(widths[0], widths[1], blocks, stride=2)
        self.layer3 = _stage(widths[1], widths[2], blocks, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[2], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, BasicBlock):
                # Blocks start as their shortcuts (Goyal et al. 2017), so deep networks train well.
                nn.init.zeros_(module.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        result: Tensor = self.fc(self.avgpool(x).flatten(1))
        return result


def spec(name: str) -> RegisteredNetwork:
    """Description of one of :data:`NETWORKS`."""
    depth = int(name.removeprefix("resnet"))
    return RegisteredNetwork(
        name=name,
        build=partial(CifarResNet, depth),
        image_size=32,
        classes=100,
        blocks=(BasicBlock,),
    )


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))
