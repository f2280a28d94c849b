"""A network of three convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from sbs.networks.spec import RegisteredNetwork

NETWORKS = {"tiny": {"label": "Tiny"}}


class Tiny(nn.Module):
    """Three convolutions with batch norms, and a linear layer."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.relu(self.bn3(self.conv3(x)))
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


def spec(name: str) -> RegisteredNetwork:
    """Description of the network."""
    return RegisteredNetwork(
        name=name,
        build=Tiny,
        image_size=8,
        classes=10,
    )
