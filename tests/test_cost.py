"""Costs against counting: shapes of layers, sums over policies, the printed table."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from sbs.cost.exact import policy_cost
from sbs.cost.facts import network_facts
from sbs.cost.layers import LayerShape, prune_shapes
from sbs.cost.report import print_cost
from sbs.cost.trace import trace_layers
from sbs.errors import SBSError
from sbs.networks import build_network, get_spec
from sbs.policy import LayerPolicy, Policy, uniform_policy
from sbs.registry.costs import cost_models
from tests.costs import GROUP_OF_FOUR, MACS, layers_of, prunables_of, with_kept

# --- shapes


@pytest.mark.parametrize("name", MACS)
def test_traces_list_every_layer_once_from_the_first_to_the_last(name: str) -> None:
    spec = get_spec(name)
    model = spec.build(spec.classes, 3)
    layers = layers_of(name)
    leaves = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert sorted(layer.name for layer in layers) == sorted(leaves)
    assert (layers[0].in_channels, layers[0].input_size) == (3, (spec.image_size,) * 2)
    assert (layers[-1].kind, layers[-1].out_channels) == ("linear", spec.classes)
    for layer in layers:
        assert layer.weight_elements == leaves[layer.name].weight.numel()


def test_tracing_leaves_the_network_as_it_is() -> None:
    model = build_network("resnet20", 10, 1).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layers = trace_layers(model, (1, 8, 8))
    assert layers == trace_layers(model.eval(), (1, 8, 8))
    assert all(not module.training for module in model.modules())
    assert all(module.training for module in model.train().modules())
    assert not any(module._forward_hooks for module in model.modules())
    after = model.state_dict()
    assert after.keys() == before.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=0, rtol=0)


def test_facts_of_a_network_come_from_this_package_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sbs").mkdir()
    (tmp_path / "sbs" / "__init__.py").write_text("raise RuntimeError('another package')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    layers = network_facts("resnet20", (3, 16, 16), 7).layers
    assert layers == trace_layers(build_network("resnet20", 7, 3), (3, 16, 16))


def test_subclasses_of_layers_are_traced() -> None:
    class OtherConv(nn.Conv2d):
        pass

    class OtherLinear(nn.Linear):
        pass

    model = nn.Sequential(OtherConv(2, 6, (3, 5), 2, groups=2), nn.Flatten(), OtherLinear(90, 4))
    conv, linear = trace_layers(model, (2, 7, 13))
    assert conv == LayerShape("0", "conv", 2, 6, (3, 5), 2, (7, 13), (3, 5), first=True)
    assert linear == LayerShape("2", "linear", 90, 4, (1, 1), 1, (1, 1), (1, 1), last=True)
    assert (conv.weight_elements, conv.input_elements, conv.macs) == (90, 182, 1350)
    assert (linear.weight_elements, linear.input_elements, linear.macs) == (360, 90, 360)


def test_layers_come_in_forward_order() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.second = nn.Linear(3, 2)
            self.first = nn.Conv2d(1, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.second(self.first(x).mean((2, 3)))
            return result

    assert [layer.name for layer in trace_layers(Backwards(), (1, 4, 4))] == ["first", "second"]


def test_layers_of_signals_and_of_rows_are_counted_whole() -> None:
    model = nn.Sequential(nn.Conv1d(2, 6, 3, 2, groups=2), nn.Linear(5, 4))
    conv, linear = trace_layers(model, (2, 11))
    assert conv == LayerShape("0", "conv1d", 2, 6, (1, 3), 2, (1, 11), (1, 5), first=True)
    assert conv.weight_shape == tuple(model[0].weight.shape)
    assert conv.macs == 6 * 1 * 3 * 5
    assert linear == LayerShape("1", "linear", 5, 4, (1, 1), 1, (6, 1), (6, 1), last=True)
    assert (linear.macs, linear.input_elements) == (5 * 4 * 6, 30)


@given(
    groups=st.integers(1, 3),
    widths=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    extra=st.tuples(st.integers(0, 5), st.integers(0, 5)),
)
@settings(deadline=None, max_examples=50)
def test_macs_are_the_products_that_a_convolution_adds_up(
    groups: int,
    widths: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    extra: tuple[int, int],
) -> None:
    inputs, outputs = groups * widths[0], groups * widths[1]
    size = (kernel[0] + extra[0], kernel[1] + extra[1])
    conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    [shape] = trace_layers(nn.Sequential(conv), (inputs, *size))
    # Without padding, ones convolved with ones count the products of each output.
    ones = torch.ones(1, inputs, *size)
    products = F.conv2d(ones, torch.ones_like(conv.weight), None, stride, groups=groups)
    assert shape.macs == int(products.sum())
    assert shape.weight_elements == conv.weight.numel()
    assert shape.input_elements == ones.numel()


# --- policies


@pytest.mark.parametrize("resource", ["bops", "memory"])
@given(seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=20)
def test_policies_cost_what_their_layers_add_up_to(resource: str, seed: int) -> None:
    draw = random.Random(seed)
    layers, prunables = layers_of("mobilenet_v3"), prunables_of("mobilenet_v3")
    policy = random_bits(draw, layers)
    filters = {layer.name: layer.out_channels for layer in layers}
    kept = {p.layer: tuple(range(draw.randint(1, filters[p.layer]))) for p in prunables}
    policy = with_kept(policy, kept)
    total = Fraction(0)
    for shape in prune_shapes(layers, prunables, policy):
        weight, activation = (
            policy.layers[shape.name].weight_bits,
            policy.layers[shape.name].activation_bits,
        )
        if resource == "bops":
            total += shape.macs * weight * activation
        else:
            read = shape.in_channels * shape.input_size[0] * shape.input_size[1]
            total += Fraction(shape.weight_elements * weight + read * activation, 8)
    assert Fraction(policy_cost(layers, prunables, policy, resource)) == total


@pytest.mark.parametrize("resource", [m.name for m in cost_models().values() if m.closed_form])
@given(seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=20)
def test_pruning_more_filters_or_bits_never_costs_more(resource: str, seed: int) -> None:
    draw = random.Random(seed)
    layers, prunables = layers_of("mobilenet_v2"), prunables_of("mobilenet_v2")
    policy = random_bits(draw, layers)
    cost = policy_cost(layers, prunables, policy, resource)
    filters = {layer.name: layer.out_channels for layer in layers}
    chosen = draw.choice(prunables).layer
    fewer = with_kept(policy, {chosen: tuple(range(filters[chosen] - 1))})
    assert policy_cost(layers, prunables, fewer, resource) < cost
    name = draw.choice(layers).name
    bits = policy.layers[name].model_copy(update={"weight_bits": 1})
    coarser = Policy(network=policy.network, layers=policy.layers | {name: bits})
    assert policy_cost(layers, prunables, coarser, resource) < cost


def random_bits(draw: random.Random, layers: tuple[LayerShape, ...]) -> Policy:
    """Two bits or more everywhere, so that one bit is fewer."""
    return Policy(
        network="any",
        layers={
            layer.name: LayerPolicy(
                weight_bits=draw.randint(2, 32), activation_bits=draw.randint(2, 32)
            )
            for layer in layers
        },
    )


# --- the printed table


def test_the_printed_table_ends_in_the_published_totals(capsys: pytest.CaptureFixture[str]) -> None:
    print_cost("resnet56", 4, None)
    printed = capsys.readouterr().out
    assert "total 2033.60 M BOPs, 63.3 times below 32 bit" in printed
    assert "total 711.66 KB, 7.9 times below 32 bit" in printed
    assert all(layer.name in printed for layer in layers_of("resnet56"))


def test_the_printed_table_follows_a_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = layers_of("resnet20")
    whole = uniform_policy("resnet20", [layer.name for layer in layers], 32)
    policy = with_kept(whole, {"layer1.0.conv1": tuple(range(12))})
    policy.save(tmp_path / "policy.json")
    print_cost("resnet20", 8, tmp_path / "policy.json")
    want = 1024 * (MACS["resnet20"] - 16 * GROUP_OF_FOUR) / 1e6
    assert f"total {want:.2f} M BOPs, 1.0 times" in capsys.readouterr().out


def test_a_policy_of_another_network_is_refused_by_layer(tmp_path: Path) -> None:
    names = [layer.name for layer in layers_of("resnet20")]
    uniform_policy("resnet20", [*names, "nowhere"], 4).save(tmp_path / "policy.json")
    with pytest.raises(SBSError, match="unknown layer 'nowhere'"):
        print_cost("resnet20", 8, tmp_path / "policy.json")
