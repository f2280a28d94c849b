"""Shapes of pruned networks against the shapes of networks that were built narrower by hand."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sbs.cost.layers import prune_shapes
from sbs.cost.trace import trace_layers
from sbs.networks import build_network, get_spec
from sbs.policy import uniform_policy
from tests.costs import GROUP_OF_FOUR, layers_of, prunables_of, with_kept


@given(data=st.data())
@settings(deadline=None, max_examples=15)
def test_pruned_resnet20_has_the_shapes_of_a_smaller_network(data: st.DataObject) -> None:
    model = build_network("resnet20", 10, 1)
    kept = {
        name: tuple(sorted(data.draw(st.sets(st.integers(0, filters - 1), min_size=1))))
        for name, filters in shrinking("resnet20", model).items()
    }
    check_shapes_of_smaller_network("resnet20", model, kept, (1, 8, 8))


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3"])
@pytest.mark.parametrize("seed", range(3))
def test_pruned_networks_have_the_shapes_of_smaller_networks(name: str, seed: int) -> None:
    draw = random.Random(seed)
    model = build_network(name, 10)
    kept = {
        layer: tuple(sorted(draw.sample(range(filters), draw.randint(1, filters))))
        for layer, filters in shrinking(name, model).items()
    }
    check_shapes_of_smaller_network(name, model, kept, (3, 64, 64))


def check_shapes_of_smaller_network(
    name: str,
    model: nn.Module,
    kept: Mapping[str, tuple[int, ...]],
    image: tuple[int, int, int],
) -> None:
    layers = trace_layers(model, image)
    prunables = get_spec(name).prunables(model)
    policy = with_kept(uniform_policy(name, [layer.name for layer in layers], 4), kept)
    predicted = prune_shapes(layers, prunables, policy)
    for layer, filters in kept.items():
        shrink_block(name, model, layer, len(filters))
    assert predicted == trace_layers(model, image)
    assert predicted == prune_shapes(predicted, prunables, policy)  # nothing shrinks twice


def shrinking(name: str, model: nn.Module) -> dict[str, int]:
    """First convolutions of residual blocks and their filters, found without the descriptions."""
    pattern = {
        "mobilenet_v2": r"features\.\d+\.conv\.0\.0",
        "mobilenet_v3": r"features\.\d+\.block\.0\.0",
    }.get(name, r"layer\d\.\d\.conv1")
    return {
        layer: module.out_channels
        for layer, module in model.named_modules()
        # A block of a MobileNet that starts with its depthwise convolution does not expand.
        if re.fullmatch(pattern, layer) and isinstance(module, nn.Conv2d) and module.groups == 1
    }


def shrink_block(name: str, model: nn.Module, first: str, filters: int) -> None:
    """Replace the modules of one block by narrower ones, by hand."""
    if name.startswith("resnet"):
        block = first.removesuffix(".conv1")
        replace_conv(model, first, outputs=filters)
        model.set_submodule(f"{block}.bn1", nn.BatchNorm2d(filters))
        replace_conv(model, f"{block}.conv2", inputs=filters)
        return
    block = first.removesuffix(".0.0")
    parts = list(model.get_submodule(block).children())
    replace_conv(model, f"{block}.0.0", outputs=filters)
    replace_conv(model, f"{block}.1.0", inputs=filters, outputs=filters, groups=filters)
    for norm in (f"{block}.0.1", f"{block}.1.1"):
        model.set_submodule(norm, nn.BatchNorm2d(filters))
    if name == "mobilenet_v2":
        replace_conv(model, f"{block}.2", inputs=filters)
        return
    if len(parts) == 4:
        replace_conv(model, f"{block}.2.fc1", inputs=filters)
        replace_conv(model, f"{block}.2.fc2", outputs=filters)
    replace_conv(model, f"{block}.{len(parts) - 1}.0", inputs=filters)


def replace_conv(
    model: nn.Module,
    name: str,
    *,
    inputs: int | None = None,
    outputs: int | None = None,
    groups: int = 1,
) -> None:
    old = model.get_submodule(name)
    assert isinstance(old, nn.Conv2d)
    new = nn.Conv2d(
        inputs or old.in_channels,
        outputs or old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        groups=groups,
        bias=old.bias is not None,
    )
    model.set_submodule(name, new)


# In units of GROUP_OF_FOUR: the group's own filters, then what its reader no longer reads.
@pytest.mark.parametrize(
    ("layer", "own", "read"),
    [
        ("layer1.0.conv1", 8, 8),
        ("layer1.2.conv1", 8, 8),
        ("layer2.0.conv1", 2, 4),
        ("layer2.1.conv1", 4, 4),
        ("layer3.0.conv1", 1, 2),
        ("layer3.2.conv1", 2, 2),
    ],
)
def test_a_group_of_four_filters_takes_its_own_macs_and_those_that_read_it(
    layer: str, own: int, read: int
) -> None:
    layers = layers_of("resnet20")
    before = {shape.name: shape for shape in layers}
    everything = uniform_policy("resnet20", list(before), 4)
    policy = with_kept(everything, {layer: tuple(range(4, before[layer].out_channels))})
    after = {shape.name: shape for shape in prune_shapes(layers, prunables_of("resnet20"), policy)}
    lost = {name: before[name].macs - after[name].macs for name in before}
    reader = layer.replace("conv1", "conv2")
    assert {name: macs for name, macs in lost.items() if macs} == {
        layer: own * GROUP_OF_FOUR,
        reader: read * GROUP_OF_FOUR,
    }
