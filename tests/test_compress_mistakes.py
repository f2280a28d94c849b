"""Mistakes in the call that compresses anybody's network: one clear error, before any training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from torch import Tensor, nn
from torch.nn import functional as F

import sbs
from sbs.compression.progress import EpochEnd
from sbs.errors import SBSError
from tests.compressing import IMAGES, LABELS, VALIDATION, Net, compressed, loader


class OnlyEnds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


class Deciding(OnlyEnds):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if float(x.sum()) > 0 else -x)


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"target": 0.0001}, r"search\.target: '0.0001 x full' is .*; give a larger target"),
    ({"target": "4 bits"}, "target '4 bits': use one of the units"),
    ({"target": "memory: much"}, "target 'memory: much': write for example '4-bit'"),
    ({"target": "disk: 3"}, "disk"),
    ({"quantize": False, "prune": False}, "there is nothing to search"),
    ({"bitwidths": (2, 3)}, "do not nest"),
    ({"bitwidths": (3, 6, 12), "precision": "bf16"}, "bitwidths: 12 bits are more than"),
    ({"schedule": "linear"}, "schedule: 'linear'; take 'cosine', 'constant' or a function"),
    ({"search_epochs": 1}, "search_epochs: 1 epochs of 20 batches are too few .* at least 5"),
    ({"train_loader": iter([])}, "train_loader: an iterator can be read only once"),
    ({"train_loader": []}, "train_loader: gives no batch"),
    ({"train_loader": [IMAGES[:8]] * 99}, "example_input: batches are no pairs"),
    (
        {"train_loader": [{"x": IMAGES[:8]}] * 99, "example_input": IMAGES[:1]},
        r"loss: batches are no pairs .* give a function loss\(model, batch\)",
    ),
    ({"example_input": IMAGES[0]}, r"does not run on the example input \(Tensor \(1, 8, 8\)\)"),
    ({"val_loader": []}, "val_loader: gives no batch"),
    ({"val_loader": iter(VALIDATION)}, "val_loader: an iterator can be read only once"),
    (
        {"val_loader": VALIDATION, "metric": lambda model, batch: batch},
        "metric: gives a tuple that is no number .* give the mean score of the batch",
    ),
    ({"epochs": -1}, "arguments: epochs: Input should be greater than or equal to 0"),
    ({"learning_rate": -1}, "arguments: learning_rate: .* greater than 0"),
    ({"device": "gpu"}, "arguments: device: Input should be 'auto', 'cpu' or 'cuda'"),
    ({"precision": "fp16"}, "arguments: precision: Input should be 'fp32' or 'bf16'"),
    ({"group_size": 0}, "arguments: group_size: .* greater than or equal to 1"),
    ({"bitwidths": 2}, "arguments: bitwidths: .* valid tuple"),
    ({"bitwidths": (8, 16, 32)}, "arguments: bitwidths.2: Input should be less than 32"),
    ({"callbacks": [3]}, "arguments: callbacks.0: Input should be callable"),
    ({"target": "1.2.3"}, "target '1.2.3': write for example '4-bit'"),
    ({"model": OnlyEnds()}, "OnlyEnds: there is nothing to decide"),
    ({"model": Deciding()}, "Deciding: torch.fx cannot trace the network"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES, ids=[text for _, text in MISTAKES])
def test_mistakes_end_with_one_clear_error_before_any_training(
    change: dict[str, Any], message: str
) -> None:
    call: dict[str, Any] = {"model": Net(), "train_loader": loader(), "target": "4-bit"}
    call |= {"search_epochs": 5, "epochs": 0, "verbose": False, "callbacks": [never]}
    with pytest.raises(SBSError, match=message):
        sbs.compress(**(call | change))


def never(end: EpochEnd) -> None:
    pytest.fail(f"{end.stage} has trained")


def test_a_metric_is_tried_before_any_training() -> None:
    with pytest.raises(KeyError, match="label"):
        compressed(
            Net(),
            val_loader=[{"x": IMAGES}],
            metric=lambda model, batch: batch["label"],
            callbacks=[never],
        )


class Weighing(Net):
    weight_of_loss = 0.5

    def cost(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.weight_of_loss * F.cross_entropy(logits, labels)


def test_attributes_that_only_the_given_network_has_are_named() -> None:
    model, options = Weighing(), {"search_epochs": 5, "epochs": 0, "callbacks": [never]}
    batches: Any = {"train_loader": loader(), "val_loader": VALIDATION}
    with pytest.raises(
        SBSError, match=r"loss: .* your Weighing, but not its 'cost'; .* mine\.cost"
    ):
        sbs.compress(model, loader(), loss=lambda net, b: net.cost(net(b[0]), b[1]), **options)
    with pytest.raises(SBSError, match=r"metric: .* not its 'weight_of_loss'"):
        sbs.compress(model, metric=lambda net, batch: net.weight_of_loss, **batches, **options)
    with pytest.raises(AttributeError, match="no attribute 'shape'"):
        sbs.compress(model, metric=lambda net, batch: batch.shape, **batches, **options)


def test_all_targets_of_a_front_are_checked_before_any_training() -> None:
    with pytest.raises(SBSError, match=r"'0.0001 x full' is .*; give a larger target"):
        sbs.front(Net(), loader(), ["4-bit", 0.0001], search_epochs=5, callbacks=[never])
    with pytest.raises(SBSError, match=r"targets: give a list, such as \['4-bit'\]"):
        sbs.front(Net(), loader(), "4-bit", callbacks=[never])
    with pytest.raises(SBSError, match="arguments: epoch: unknown key"):
        sbs.front(Net(), loader(), ["4-bit"], epoch=1)


def test_a_loader_that_gives_fewer_batches_later_is_noticed() -> None:
    class Shrinking(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            self.pop()
            return super().__iter__()

    batches = Shrinking(zip(IMAGES.split(16), LABELS.split(16), strict=True))
    with pytest.raises(SBSError, match="gives another number of batches"):
        sbs.compress(Net(), batches, "4-bit", search_epochs=1, verbose=False)
