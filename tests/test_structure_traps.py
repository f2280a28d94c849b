"""Networks whose graphs mislead: signs, shared norms, sizes, modes, and optional arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sbs.cost.inspection import inspect
from sbs.errors import SBSError
from sbs.networks.structure import Structure, structure_of
from sbs.nn.batch_norm import GatedBatchNorm2d
from tests.emulated_gpu import GPU, emulated_gpu

IMAGE = torch.zeros(1, 3, 8, 8)


class Small(nn.Module):
    """Two branches, something between, and two layers that read it."""

    def __init__(self, between: Callable[[Small, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.one, self.two = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.narrow = nn.Conv2d(8, 1, 1)
        self.norm = nn.BatchNorm2d(8)
        self.reader = nn.Conv2d(8, 8, 1)
        self.linear, self.rows = nn.Linear(8 * 8 * 8, 8), nn.Linear(8 * 8, 8)
        self.fc = nn.Linear(8, 4)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = self.between(self, F.relu(self.one(x)), F.relu(self.two(x)))
        result: Tensor = self.fc(x)
        return result


def read(net: Small, x: Tensor) -> Tensor:
    result: Tensor = F.relu(net.reader(x)).mean((2, 3))
    return result


def structure(between: Callable[[Small, Tensor, Tensor], Tensor]) -> Structure:
    return structure_of(Small(between))


@pytest.mark.parametrize(
    ("values", "signed"),
    [
        (lambda a, b: a + b, False),
        (lambda a, b: a - b, True),
        (lambda a, b: a.sub(b), True),
        (lambda a, b: torch.add(a, b, alpha=-1), True),
        (lambda a, b: F.interpolate(a, scale_factor=2.0, mode="bilinear"), False),
        (lambda a, b: F.interpolate(a, scale_factor=2.0, mode="bicubic"), True),
    ],
)
def test_what_can_be_negative(values: Callable[[Tensor, Tensor], Tensor], signed: bool) -> None:
    found = structure(lambda net, a, b: read(net, values(a, b)))
    assert ("reader" in found.signed) == signed


@pytest.mark.parametrize(("mode", "signed"), [("bilinear", False), ("bicubic", True)])
def test_a_module_that_interpolates(mode: str, signed: bool) -> None:
    layers = nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Upsample(scale_factor=2, mode=mode)
    found = structure_of(nn.Sequential(*layers, nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)))
    assert ("3" in found.signed) == signed


WHOLE: dict[str, Callable[[Small, Tensor, Tensor], Tensor]] = {
    "attention to places": lambda net, a, b: read(net, a * torch.sigmoid(net.narrow(a))),
    "one norm of two": lambda net, a, b: (
        read(net, net.norm(a)) + net.linear(net.norm(b).flatten(1))
    ),
    "items and channels together": lambda net, a, b: net.rows(a.reshape(a.size(0) * a.size(1), -1)),
    "halves in another order": lambda net, a, b: read(net, torch.cat(a.chunk(2, 1)[::-1], 1)),
    "a transposed view": lambda net, a, b: read(net, a.mT),
}


@pytest.mark.parametrize("name", WHOLE)
def test_filters_stay_where_it_is_not_certain_who_reads_them(name: str) -> None:
    net = Small(WHOLE[name])
    found = structure_of(net)
    assert "one" in found.whole
    assert "reader" in found.layers or "rows" in found.layers
    inspect(net, IMAGE)


FLAT: dict[str, Callable[[Tensor], Tensor]] = {
    "size": lambda x: x.view(x.size(0), -1),
    "sizes": lambda x: x.view(x.size()[0], -1),
    "shape": lambda x: x.reshape(x.shape[0], -1),
}


@pytest.mark.parametrize("name", FLAT)
def test_filters_are_free_where_each_image_is_flattened(name: str) -> None:
    found = structure(lambda net, a, b: net.linear(FLAT[name](a)))
    assert "one" in {prunable.layer for prunable in found.prunables}


class Helped(nn.Module):
    """A network with a second output in training."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.body = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.free, self.helper = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.body(F.relu(self.first(x))))
        result = self.fc(F.relu(self.free(x)).mean((2, 3)))
        return (result, self.helper(x).mean((2, 3))) if self.training else result


@pytest.mark.parametrize("training", [True, False])
def test_filters_that_only_training_reads_elsewhere_stay(training: bool) -> None:
    model = Helped().train(training)
    found = structure_of(model)
    assert [prunable.layer for prunable in found.prunables] == ["free"]
    assert found.whole["body"] == "training reads its outputs elsewhere"
    assert found.alone == {"helper": "only training uses it"}
    assert model.training == training
    layers = {layer.name: layer.fixed_bits for layer in inspect(model, IMAGE).layers}
    assert layers["helper"] == "only training uses it"


def test_filters_stay_if_the_training_pass_cannot_be_traced() -> None:
    class Branching(Helped):
        def forward(self, x: Tensor) -> Any:
            return super().forward(-x if self.training and float(x.sum()) > 0 else x)

    found = structure_of(Branching())
    assert not found.prunables
    assert "cannot trace the training pass" in found.whole["free"]


class Optional(nn.Module):
    """A network with a switch and an input that can be absent."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.body = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor, mask: Tensor | None = None, features: bool = False) -> Tensor:
        x = F.relu(self.body(F.relu(self.first(x))))
        if mask is not None:
            x = x * mask
        if features:
            return x
        result: Tensor = self.fc(x.mean((2, 3)))
        return result


def test_switches_are_off_and_arguments_with_defaults_absent() -> None:
    found = structure_of(Optional())
    assert found.layers == ("first", "body", "fc")
    assert [prunable.layer for prunable in found.prunables] == ["body"]
    assert inspect(Optional(), IMAGE).costs
    with pytest.raises(SBSError, match="the argument 'mask' of its forward is None unless given"):
        inspect(Optional(), (IMAGE, torch.ones(8, 8)))


def test_a_wrapper_gives_what_is_absent_by_default() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Optional()

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            result: Tensor = self.net(x, mask)
            return result

    assert inspect(Masked(), (IMAGE, torch.ones(8, 8))).costs


def test_running_statistics_without_a_momentum_are_means_of_all_batches() -> None:
    plain = nn.BatchNorm2d(4, momentum=None)
    gated = GatedBatchNorm2d.of(nn.BatchNorm2d(4, momentum=None))
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        x = torch.randn(8, 4, 5, 5, generator=generator) * 3 + 1
        assert torch.allclose(gated(x), plain(x), atol=1e-5)
    for mine, its in zip(gated.buffers(), plain.buffers(), strict=True):
        assert torch.allclose(mine, its, rtol=1e-5)


def test_a_network_on_a_gpu_is_inspected() -> None:
    with emulated_gpu():
        found = inspect(Helped().to(GPU), IMAGE.to(GPU))
    assert found.costs == inspect(Helped(), IMAGE).costs
