"""Batch norms that are computed with the quantizer behind them: which, and with what results."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from sbs.kernels import build as native
from sbs.networks import build_network, get_spec
from sbs.nn.batch_norm import GatedBatchNorm2d
from sbs.nn.joined import normalized_and_quantized
from sbs.nn.layers import LayerOptions, QuantConv2d
from sbs.nn.quantizers import get_quantizer
from sbs.policy import uniform_policy
from sbs.surgery.joins import join_norms
from sbs.surgery.layers import leaf_layers, swap_layer, swap_norms
from sbs.surgery.networks import quantized_network
from tests.devices import DEVICE

CHANNELS = 8
Between = Callable[[Tensor, Tensor], Tensor]
"""(output of the batch norm, input of the network) -> input of the layer behind it."""


class Net(nn.Module):
    """Two convolutions, with a batch norm and something else in between."""

    def __init__(self, between: Between) -> None:
        super().__init__()
        self.first = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.relu = nn.ReLU(inplace=True)
        self.between = between
        self.second = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        y: Tensor = self.second(self.between(self.norm(self.first(x)), x))
        return y


def quantized(model: nn.Module, quantizer: str = "interval", *, signed: bool = False) -> nn.Module:
    """The network with quantized layers, before its norms are joined."""
    options = LayerOptions(
        4,
        4,
        signed,
        standardize_weights=False,
        quantizer=get_quantizer(quantizer),  # type: ignore[arg-type]
    )
    for name, layer in leaf_layers(model).items():
        swap_layer(model, name, layer, options, None)
    swap_norms(model)
    return model


def joins(model: nn.Module) -> list[fx.Node]:
    """The places where a norm and a quantizer are one."""
    if not isinstance(model, fx.GraphModule):
        return []
    return [node for node in model.graph.nodes if node.target is normalized_and_quantized]


def images(layout: torch.memory_format = torch.channels_last) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(4, CHANNELS, 5, 5, generator=generator, device="cpu")
    return drawn.to(DEVICE).contiguous(memory_format=layout)


def results(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output, all gradients and the running statistics after a step."""
    x = x.clone().requires_grad_()
    y = model(x)
    (y * torch.linspace(-1, 1, y.numel(), device=y.device).view_as(y)).sum().backward()
    found = {"output": y, "input": x.grad, **dict(model.named_buffers())}
    found |= {name: parameter.grad for name, parameter in model.named_parameters()}
    return {name: value for name, value in found.items() if value is not None}


RELU_OF_SUM: Between = lambda y, x: F.relu(y + x)  # noqa: E731
JOINED: dict[str, Between] = {
    "norm": lambda y, x: y,
    "relu": lambda y, x: F.relu(y),
    "method": lambda y, x: y.relu_(),
    "sum": lambda y, x: x + y,
    "relu of sum": RELU_OF_SUM,
    "in place": lambda y, x: torch.relu(y.add_(x)),
    "other shape": lambda y, x: F.relu(y + x.mean((2, 3), keepdim=True)),
}
APART: dict[str, Between] = {
    "number": lambda y, x: y + 1.0,
    "product": lambda y, x: y * x,
    "scaled sum": lambda y, x: torch.add(y, x, alpha=2),
    "twice itself": lambda y, x: y + y,
    "another activation": lambda y, x: F.relu6(y),
    "pooling": lambda y, x: F.avg_pool2d(F.relu(y), 3, 1, 1),
    "written later": lambda y, x: y + F.relu(y, inplace=True),
}


@pytest.mark.device
@pytest.mark.parametrize("name", [*JOINED, *APART])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_joined_network_computes_the_same(name: str, layout: torch.memory_format) -> None:
    torch.manual_seed(1)
    model = quantized(Net((JOINED | APART)[name]), signed="relu" not in name)
    joined = join_norms(copy.deepcopy(model))
    assert len(joins(joined)) == (name in JOINED)
    assert joined.state_dict().keys() == model.state_dict().keys()
    want, got = results(model, images(layout)), results(joined, images(layout))
    assert want.keys() == got.keys()
    for key, value in want.items():
        torch.testing.assert_close(got[key], value, atol=1e-4, rtol=1e-4, msg=key)
    for module in (model, joined):
        module.eval()
    with torch.no_grad():
        torch.testing.assert_close(joined(images(layout)), model(images(layout)))


@pytest.mark.parametrize("quantizer", ["interval", "dorefa_pact", "linear"])
@pytest.mark.parametrize("signed", [False, True])
def test_every_quantizer_of_inputs_can_be_joined(quantizer: str, signed: bool) -> None:
    torch.manual_seed(1)
    between: Between = (lambda y, x: y) if signed else (lambda y, x: F.relu(y))
    model = quantized(Net(between), quantizer, signed=signed)
    joined = join_norms(copy.deepcopy(model))
    assert len(joins(joined)) == 1
    want, got = results(model, images()), results(joined, images())
    for key, value in want.items():
        torch.testing.assert_close(got[key], value, atol=1e-4, rtol=1e-4, msg=key)


def test_other_readers_get_the_values_before_the_quantizer() -> None:
    class Block(Net):
        def forward(self, x: Tensor) -> Tensor:
            y = self.relu(self.norm(self.first(x)))
            z: Tensor = self.second(y) + y
            return z

    torch.manual_seed(1)
    model = quantized(Block(RELU_OF_SUM))
    joined = join_norms(copy.deepcopy(model))
    (node,) = joins(joined)
    assert node.kwargs == {"relu": True, "keep": True}
    want, got = results(model, images()), results(joined, images())
    for key, value in want.items():
        torch.testing.assert_close(got[key], value, atol=1e-4, rtol=1e-4, msg=key)


class Branching(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)
        return -y if self.training and float(y.detach().sum()) > 0 else y


class WithNoise(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, training=self.training))


@pytest.mark.parametrize("kind", [Branching, WithNoise])
def test_a_network_without_one_graph_stays_as_it_is(kind: type[Net]) -> None:
    model = quantized(kind(RELU_OF_SUM).eval()).train()
    assert join_norms(model) is model
    assert model.training
    assert model(images().cpu()).shape == images().shape


# Joins of each network: of each block's first norm and, in ResNets, of each sum that a block reads.
COUNTS = {"resnet20": 18, "resnet56": 54, "resnet18": 15, "resnet50": 47, "mobilenet_v2": 17}


@pytest.mark.parametrize("name", [*COUNTS, "mobilenet_v3"])
def test_the_networks_of_the_paper_keep_names_and_modules(name: str) -> None:
    model, spec = build_network(name, 10), get_spec(name)
    plain = model.state_dict()
    joined = quantized_network(model, spec, uniform_policy(name, list(leaf_layers(model)), 4))
    assert isinstance(joined, fx.GraphModule)
    state = joined.state_dict()
    assert plain.keys() <= state.keys()
    for key, value in plain.items():
        assert state[key].data_ptr() == value.data_ptr(), key
    if name in COUNTS:
        assert len(joins(joined)) == COUNTS[name]
    layer = joined.get_submodule(next(iter(leaf_layers(model))))
    assert isinstance(layer, QuantConv2d)


def test_a_copy_has_modules_of_its_own() -> None:
    torch.manual_seed(1)
    joined = join_norms(quantized(Net(RELU_OF_SUM)))
    twin = copy.deepcopy(joined)
    before = joined(images().cpu())
    for parameter in twin.parameters():
        nn.init.constant_(parameter, 0.1)
    assert not torch.allclose(twin(images().cpu()), before)
    assert torch.equal(joined(images().cpu()), before)


@pytest.mark.skipif(not native.available(), reason="no kernels without a compiler")
def test_the_kernel_joins_what_it_has_a_backward_pass_for() -> None:
    norm = GatedBatchNorm2d(CHANNELS)
    x = images().cpu()
    assert norm.joins(x)
    assert not norm.joins(x.contiguous(memory_format=torch.contiguous_format))
    norm.eval()
    assert not norm.joins(x)
    with torch.no_grad():
        assert norm.joins(x)
    norm.shared = True
    with torch.no_grad():
        assert not norm.joins(x)
