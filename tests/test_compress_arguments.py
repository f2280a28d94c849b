"""Networks with several inputs and outputs, of any form, are compressed and exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sbs
from tests.compressing import IMAGES, LABELS, Net, loader


class Pair(nn.Module):
    """Two images in; the first one's digit, and whether the sum of both is odd, out."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(1, 8, 3, padding=1)
        self.both, self.norm = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.deep = nn.Conv2d(16, 16, 3)
        self.digit, self.odd = nn.Linear(16, 10), nn.Linear(16, 2)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([F.relu(self.left(left)), F.relu(self.right(right))], 1)
        x = F.relu(self.deep(F.relu(self.norm(self.both(x))))).mean((2, 3))
        return self.digit(x), self.odd(x)


def of_pairs(model: nn.Module, batch: Any) -> Tensor:
    (left, right), (digit, odd) = batch
    digits, parities = model(left, right)
    return F.cross_entropy(digits, digit) + F.cross_entropy(parities, odd)


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images, labels = IMAGES[:1280].split(32), LABELS[:1280].split(32)
    batches = [
        ((images[i], images[i + 1]), (labels[i], (labels[i] + labels[i + 1]) % 2))
        for i in range(0, 40, 2)
    ]
    example = IMAGES[:1], IMAGES[1:2]
    options: dict[str, Any] = {"loss": of_pairs, "example_input": example, "verbose": False}
    result = sbs.compress(Pair(), batches, "4-bit", search_epochs=6, epochs=1, **options)
    ends = [name for name, layer in result.policy.layers.items() if layer.weight_bits == 8]
    assert set(ends) >= {"left", "right", "digit", "odd"}
    assert result.history["search"][0]["loss"] > result.history["finetune"][-1]["loss"]
    result.export(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    given = dict(zip(("left", "right"), (IMAGES[:5].numpy(), IMAGES[5:10].numpy()), strict=True))
    got = session.run(None, given)
    with torch.no_grad():
        want = result.model(IMAGES[:5], IMAGES[5:10])
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(torch.from_numpy(one), other, rtol=1e-4, atol=1e-4)


class Scaled(nn.Module):
    """An image in a dictionary, a number, and a tensor in; logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, images: dict[str, Tensor], scale: float, shift: Tensor) -> Tensor:
        result: Tensor = self.net(images["x"]) * scale + shift
        return result


def test_arguments_can_be_dictionaries_and_numbers(tmp_path: Path) -> None:
    def loss(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(
            model({"x": batch[0]}, 2.0, torch.zeros(len(batch[0]), 10)), batch[1]
        )

    example = {"x": IMAGES[:1]}, 2.0, torch.zeros(1, 10)
    options: dict[str, Any] = {"loss": loss, "search_epochs": 5, "epochs": 0, "verbose": False}
    result = sbs.compress(Scaled(), loader(), "4-bit", example_input=example, **options)
    result.export(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    images, shift = IMAGES[:5], torch.ones(5, 10)
    (got,) = session.run(None, {"images_x": images.numpy(), "shift": shift.numpy()})
    with torch.no_grad():
        want = result.model({"x": images}, 2.0, shift)
    torch.testing.assert_close(torch.from_numpy(got), want, rtol=1e-4, atol=1e-4)
