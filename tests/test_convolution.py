"""Gradients of depthwise convolutions: the compiled code against PyTorch's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from sbs.kernels import build as native
from sbs.kernels.convolution import conv2d
from sbs.networks import build_network
from sbs.nn.convolution import FastConv2d, accelerate

Convolve = Callable[..., Tensor]


def gradients(
    convolve: Convolve, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
) -> list[Tensor]:
    """Output, and gradients of all inputs for a fixed gradient of the output."""
    inputs = [one.detach().clone().requires_grad_() for one in (x, weight, bias) if one is not None]
    given_bias = inputs[2] if bias is not None else None
    places = (stride, stride), (padding, padding), (1, 1)
    y = convolve(inputs[0], inputs[1], given_bias, *places, len(weight))
    generator = torch.Generator().manual_seed(1)
    y.backward(torch.randn(y.shape, generator=generator).to(y.dtype))
    return [y.detach(), *(one.grad for one in inputs if one.grad is not None)]


@settings(deadline=None, max_examples=60)
@given(
    images=st.integers(1, 3),
    channels=st.integers(2, 70),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    size=st.sampled_from([3, 5]),
    stride=st.integers(1, 3),
    more_padding=st.integers(0, 2),
    bias=st.booleans(),
    channels_last=st.booleans(),
)
def test_gradients_of_depthwise_convolutions(
    images: int,
    channels: int,
    height: int,
    width: int,
    size: int,
    stride: int,
    more_padding: int,
    bias: bool,
    channels_last: bool,
) -> None:
    """Of any number of channels, also less than a vector; pixels that no output reads get zero."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, weight = random(images, channels, height, width), random(channels, 1, size, size)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    arguments = x, weight, random(channels) if bias else None, stride, size // 2 + more_padding
    for got, want in zip(
        gradients(conv2d, *arguments), gradients(F.conv2d, *arguments), strict=True
    ):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_autocast_gives_the_types_of_pytorch(size: int, stride: int) -> None:
    x = torch.randn(4, 24, 8, 8).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(24, 1, size, size)
    with torch.autocast("cpu", torch.bfloat16):
        got, want = (
            gradients(function, x, weight, None, stride, size // 2)
            for function in (conv2d, F.conv2d)
        )
    assert [one.dtype for one in got] == [one.dtype for one in want]
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)


def test_without_a_compiler_pytorch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = torch.randn(2, 8, 4, 4), torch.randn(8, 1, 5, 5), None, 1, 2
    monkeypatch.setattr(native, "available", lambda: False)
    for got, want in zip(
        gradients(conv2d, *arguments), gradients(F.conv2d, *arguments), strict=True
    ):
        assert torch.equal(got, want)


def test_accelerated_networks_are_the_same() -> None:
    torch.manual_seed(0)
    plain = build_network("mobilenet_v3", 10, 1).double().eval()
    state = plain.state_dict()
    images = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    results = []
    for model in (plain, accelerate(plain)):
        model.zero_grad()
        y = model(images)
        y.sum().backward()
        results.append([y, *(one.grad for one in model.parameters() if one.grad is not None)])
    assert list(plain.state_dict()) == list(state)
    assert sum(isinstance(module, FastConv2d) for module in plain.modules()) > 50
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want)


def test_other_paddings_stay_as_they_are() -> None:
    for options in ({"padding": "same"}, {"padding": 1, "padding_mode": "circular"}):
        torch.manual_seed(0)
        layer = nn.Conv2d(4, 4, 3, groups=4, **options)  # type: ignore[arg-type]
        x = torch.randn(2, 4, 6, 6)
        want = layer(x)
        accelerate(nn.Sequential(layer))
        assert isinstance(layer, FastConv2d)
        assert torch.equal(layer(x), want)
