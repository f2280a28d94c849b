"""Weights are standardised exactly where a batch norm undoes the scale."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from sbs.errors import SBSError
from sbs.networks import build_network, get_spec
from sbs.networks.structure import structure_of
from sbs.nn.layers import QuantConv2d, QuantLinear
from sbs.policy import uniform_policy
from sbs.surgery.layers import leaf_layers
from sbs.surgery.networks import quantized_network


class Branching(nn.Module):
    """One convolution that a batch norm alone reads, one that an addition reads too."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(1, 2, 1)
        self.read_twice = nn.Conv2d(2, 2, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(2) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.read_twice(self.norms[0](self.plain(x)))
        result: Tensor = self.norms[1](y) + y
        return result


class Undecided(nn.Module):
    """A network that looks at its values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y if y.sum() > 0 else -y


def test_a_batch_norm_undoes_the_scale_only_if_nothing_else_reads_the_output() -> None:
    assert structure_of(Branching()).normalized == {"plain"}


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    with pytest.raises(SBSError, match=r"Undecided: torch\.fx cannot trace.*must not branch"):
        structure_of(Undecided())


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "resnet50", "mobilenet_v2"])
def test_all_convolutions_of_other_networks_are_normalized(name: str) -> None:
    model = build_network(name, 10)
    convolutions = {n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    assert structure_of(model).normalized == convolutions


def test_squeeze_and_excitation_is_not_normalized() -> None:
    model = build_network("mobilenet_v3", 10)
    convolutions = {n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    left = convolutions - structure_of(model).normalized
    assert len(left) == 16
    assert all(name.endswith((".fc1", ".fc2")) for name in left)


def test_intervals_of_raw_weights_start_at_their_scale() -> None:
    for name in ("mobilenet_v3", "resnet20"):
        model, spec = build_network(name, 10), get_spec(name)
        plain = {name: layer.weight.detach() for name, layer in leaf_layers(model).items()}
        normalized = structure_of(model).normalized
        quantized_network(model, spec, uniform_policy(name, list(plain), 4))
        for layer, weights in plain.items():
            fitted = layer not in normalized and layer != spec.last_layer
            want = float(weights.abs().max()) if fitted else 1.0
            assert float(model.get_parameter(f"{layer}.weight_interval").detach()) == want


def test_8_bit_mobilenet_v3_keeps_the_outputs_of_the_plain_network() -> None:
    """With batch statistics, and intervals that clip nothing, what is left is rounding.

    So four more bits make the error some 16 times smaller. The depth of the untrained network
    amplifies it: 0.35 at 8 bits. With standardised squeeze-and-excitation layers it is 1 at any
    bitwidth.
    """
    error = {bits: relative_error(bits) for bits in (8, 12)}
    assert error[8] < 0.5
    assert error[12] < error[8] / 8


def relative_error(bits: int) -> float:
    """Of the logits of MobileNetV3 at so many bits, over the norm of the plain network's."""
    torch.manual_seed(0)
    model, spec = build_network("mobilenet_v3", 10), get_spec("mobilenet_v3")
    for module in model.modules():
        module.train(isinstance(module, nn.BatchNorm2d))
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-12  # any other is a scale that batch norm does not undo
        if isinstance(module, nn.Conv2d) and module.bias is None:
            module.weight.data -= module.weight.data.mean()  # nor does it undo a mean
        if isinstance(module, nn.Linear):  # torchvision starts them at a hundredth
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
    policy = uniform_policy(spec.name, list(leaf_layers(model)), bits, first_and_last_bits=bits)
    fixed = quantized_network(copy.deepcopy(model), spec, policy)
    images = torch.randn(16, 3, 32, 32)
    with torch.no_grad():
        cover_all_values(model, fixed, images)
        want, got = model(images), fixed(images)
    return float((got - want).norm() / want.norm())


def cover_all_values(model: nn.Module, fixed: nn.Module, images: Tensor) -> None:
    """Set the intervals of ``fixed`` to the largest magnitudes in ``model`` and of its weights."""
    handles = []
    for name, layer in fixed.named_modules():
        if isinstance(layer, QuantConv2d | QuantLinear):
            layer.weight_interval.copy_(layer.normalized_weight().abs().max())
            note = partial(note_largest, layer.activation_interval)
            handles.append(model.get_submodule(name).register_forward_pre_hook(note))
    model(images)
    for handle in handles:
        handle.remove()


def note_largest(interval: Tensor, module: nn.Module, args: tuple[Tensor, ...]) -> None:
    interval.copy_(args[0].abs().max())
