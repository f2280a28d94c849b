"""Batch norms that wait: what they note, and what makes them compute."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sbs.nn.batch_norm import GatedBatchNorm2d, Pending, tensor
from sbs.nn.quantizers.inputs import pact
from tests.devices import DEVICE


def pair() -> tuple[GatedBatchNorm2d, nn.BatchNorm2d, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 8, 5, 5, generator=generator, device="cpu").to(DEVICE)
    x = x.to(memory_format=torch.channels_last)
    return GatedBatchNorm2d(8, private=False), nn.BatchNorm2d(8), x


def test_additions_and_relus_are_noted_in_order() -> None:
    waiting, plain, x = pair()
    residual = torch.rand_like(x)
    for noted, want in (
        (lambda y: F.relu(y + residual), lambda y: F.relu(y + residual)),
        (lambda y: nn.ReLU(inplace=True)(residual + y), lambda y: F.relu(residual + y)),
        (lambda y: F.relu(y), lambda y: F.relu(y)),
        (lambda y: y, lambda y: y),
    ):
        got = noted(waiting(x))
        assert isinstance(got, Pending)
        torch.testing.assert_close(tensor(got), want(plain(x)))
    assert torch.equal(waiting.running_mean, plain.running_mean)  # type: ignore[arg-type]


@pytest.mark.device
def test_pact_joins_the_norm_before_it() -> None:
    results = []
    for norm, x in zip(pair()[:2], (pair()[2], pair()[2]), strict=True):
        x.requires_grad_()
        clip = torch.tensor(0.8, requires_grad=True)
        y = pact(F.relu(norm(x)), clip, 3)
        (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        results.append((y, x.grad, clip.grad, norm.weight.grad, norm.bias.grad))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


@pytest.mark.device
def test_everything_else_computes_first() -> None:
    waiting, plain, x = pair()
    for operation in (
        lambda y: y + 1.0,
        lambda y: 2 * y,
        lambda y: y * 2,
        lambda y: y - 1,
        lambda y: -y,
        lambda y: y[:, :3],
        lambda y: y.mean(),
        lambda y: F.relu6(y),
        lambda y: torch.flatten(y, 1),
        lambda y: F.relu(F.relu(y) + torch.ones(1)),
        lambda y: nn.AdaptiveAvgPool2d(1)(F.relu(y)),
    ):
        got, want = operation(waiting(x)), operation(plain(x))
        assert isinstance(got, Tensor)
        torch.testing.assert_close(got, want)


def test_a_second_reader_that_was_not_foreseen_is_an_error() -> None:
    waiting, _, x = pair()
    y = waiting(x)
    y + torch.rand_like(x)
    with pytest.raises(RuntimeError, match="second consumer"):
        tensor(y)


def test_contiguous_images_and_frozen_statistics_do_not_wait() -> None:
    waiting, _, x = pair()
    assert isinstance(waiting(x.contiguous()), Tensor)
    assert isinstance(waiting.eval()(x), Tensor)
    with torch.no_grad():
        assert isinstance(waiting(x), Pending)
