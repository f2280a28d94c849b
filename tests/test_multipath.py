"""The network with a path for every bitwidth."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sbs.nn.layers import LayerOptions
from sbs.nn.multipath import MultiPathConv2d, QuantizedPath, multipath_layers
from sbs.quantization import uniform as quantizer

pytestmark = pytest.mark.device

BITS = (2, 4, 8)


def layer(groups: int = 1, bias: bool = False) -> tuple[nn.Conv2d, MultiPathConv2d]:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=groups, bias=bias).double()
    options = LayerOptions(32, 32, signed_input=False)
    return plain, MultiPathConv2d(plain, [QuantizedPath(plain.weight, b, options) for b in BITS])


def expected(plain: nn.Conv2d, x: torch.Tensor, mixture: torch.Tensor) -> torch.Tensor:
    one = torch.ones((), dtype=x.dtype)
    total = torch.zeros(())
    for part, bits in zip(mixture, BITS, strict=True):
        weight = quantizer.fake_quantize(
            quantizer.standardize(plain.weight), one, bits, signed=True
        )
        values = quantizer.fake_quantize(x, one, bits, signed=False)
        total = total + part * F.conv2d(values, weight, None, 2, 1, groups=plain.groups)
    return total if plain.bias is None else total + plain.bias.view(1, -1, 1, 1)


def test_output_is_the_mixture_of_the_paths() -> None:
    for groups, bias in ((1, False), (6, False), (1, True), (6, True)):
        plain, paths = layer(groups, bias)
        paths.mixture = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
        x = torch.rand(2, 6, 8, 8, dtype=torch.float64)
        torch.testing.assert_close(paths(x), expected(plain, x, paths.mixture))


def test_paths_have_weights_of_their_own_and_all_learn() -> None:
    _, paths = layer()
    paths.sample(temperature=1.0)
    torch.testing.assert_close(paths.mixture.detach().sum().item(), 1.0)
    paths(torch.rand(2, 6, 8, 8, dtype=torch.float64)).square().sum().backward()
    weights = [path.weight for path in paths.paths]
    assert len({weight.data_ptr() for weight in weights}) == len(BITS)
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in weights)
    assert paths.logits.grad is not None


def test_a_choice_uses_one_path_and_names_its_state_like_a_quantized_layer() -> None:
    plain, paths = layer()
    paths.choose(1)
    x = torch.rand(2, 6, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(paths(x), expected(plain, x, torch.tensor([0.0, 1.0, 0.0])))
    state = paths.chosen_state(1)
    assert set(state) == {"weight", "weight_interval", "activation_interval"}
    assert torch.equal(state["weight"], plain.weight)


def test_layers_are_swapped_by_name() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 3))
    options = LayerOptions(32, 32, signed_input=True)
    swapped = multipath_layers(
        model, ["1"], lambda conv, name: [QuantizedPath(conv.weight, 4, options)]
    )
    assert isinstance(model[1], MultiPathConv2d)
    assert model[1] is swapped["1"]
    assert type(model[0]) is type(model[2]) is nn.Conv2d
