"""Train a small network on scikit-learn's digits, compress it, and run it in onnxruntime.

    pip install '.[export]' scikit-learn
    python examples/digits.py

takes less than two minutes on one core.
"""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import torch
import typer
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import sbs


class Net(nn.Module):
    """Convolutions of two sizes beside each other, joined, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.narrow, self.wide = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 3, padding=1)
        self.last, self.last_norm = nn.Conv2d(32, 32, 3), nn.BatchNorm2d(32)
        self.classes = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 1, 8, 8) to logits (N, 10)."""
        x = F.max_pool2d(F.relu(self.stem_norm(self.stem(x))), 2)
        x = F.relu(torch.cat([self.narrow(x), self.wide(x)], 1))
        x = F.relu(self.last_norm(self.last(x)))
        logits: Tensor = self.classes(x.mean((2, 3)))
        return logits


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Training and test images (N, 1, 8, 8) in [0, 1], with their labels."""
    found = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(found.target)
    parts = train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)
    return TensorDataset(*parts[::2]), TensorDataset(*parts[1::2])


def train(model: nn.Module, batches: DataLoader[tuple[Tensor, ...]], epochs: int) -> None:
    """Train in full precision."""
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for images, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
        schedule.step()
    model.eval()


def main(epochs: int = 20, output: Path = Path("digits")) -> None:
    """Train, search and fine-tune for so many epochs each; write the files to a folder."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    output.mkdir(parents=True, exist_ok=True)
    training, test = digits()
    batches = DataLoader(training, batch_size=32, shuffle=True)
    images, labels = test.tensors
    model = Net()
    train(model, batches, epochs)

    print(sbs.inspect(model, images[:1]))
    result = sbs.compress(model, batches, "3-bit", val_loader=DataLoader(test, 450), epochs=epochs)
    print(result)

    result.save(output / "digits.sbs")
    again = sbs.load(output / "digits.sbs", model)
    result.export(output / "digits.onnx")
    session = onnxruntime.InferenceSession(output / "digits.onnx")
    [logits] = session.run(None, {session.get_inputs()[0].name: images.numpy()})

    def accuracy(outputs: Tensor) -> str:
        return f"{100 * (outputs.argmax(1) == labels).float().mean():.2f} %"

    with torch.no_grad():
        print("full precision  ", accuracy(model(images)))
        print("compressed      ", accuracy(result.model(images)))
        print("packed file     ", accuracy(again(images)))
    print("ONNX            ", accuracy(torch.from_numpy(logits)))
    for path in sorted(output.iterdir()):
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    typer.run(main)
