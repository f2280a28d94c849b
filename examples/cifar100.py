"""Compress a public ResNet-20 on CIFAR-100 to the cost of 3 bits.

    pip install '.[workflow]'
    sbs fetch cifar100 --output cifar100.safetensors
    curl --location --remote-name https://github.com/chenyaofo/pytorch-cifar-models/releases/download/resnet/cifar100_resnet20-23dac2f1.pt
    sha256sum cifar100_resnet20-23dac2f1.pt  # starts with 23dac2f1
    python examples/cifar100.py cifar100.safetensors cifar100_resnet20-23dac2f1.pt

`sbs fetch` downloads the images by torchvision's `CIFAR100` and checks them, or reads a copy in the
folder that `SBS_DATA_DIR` names. For a network of your own, replace `pretrained`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import sbs

MEAN, STD = (0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761)
"""How the images were normalised that the network was trained on."""


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """Images (3, 32, 32), transformed whenever they are read, with their labels."""

    def __init__(self, images: Tensor, labels: Tensor, transform: v2.Transform) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[index]), self.labels[index]


def pretrained(weights: Path) -> nn.Module:
    """The network with its public weights."""
    model = sbs.build_network("resnet20", classes=100)
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model.eval()


def main(
    data: Annotated[Path, typer.Argument(exists=True, help="File of `sbs fetch cifar100`.")],
    weights: Annotated[Path, typer.Argument(exists=True, help="Public checkpoint.")],
    epochs: Annotated[int, typer.Option(help="Of the search, and of the fine-tuning.")] = 4,
    batch_size: Annotated[int, typer.Option(help="Images of a training batch.")] = 128,
    workers: Annotated[int, typer.Option(help="Processes that prepare images.")] = 0,
    output: Annotated[Path, typer.Option(help="File to write.")] = Path("resnet20.sbs"),
) -> None:
    """Search, fine-tune, print the result, and save it."""
    images = load_file(data)
    plain = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    augmented = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(), *plain]
    train = Pictures(images["train_images"], images["train_labels"], v2.Compose(augmented))
    test = Pictures(images["test_images"], images["test_labels"], v2.Compose(plain))

    result = sbs.compress(
        pretrained(weights),
        DataLoader(train, batch_size, shuffle=True, num_workers=workers),
        "3-bit",
        val_loader=DataLoader(test, 500, num_workers=workers),
        epochs=epochs,
    )
    print(result)
    print(result.save(output))


if __name__ == "__main__":
    typer.run(main)
