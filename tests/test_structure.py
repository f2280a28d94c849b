"""Facts that are derived from a network's graph: as written by hand, and as a library has them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch_kirigami import DependencyGraph, Fixed

from sbs.networks import Prunable, build_network, get_spec
from sbs.networks.eligible import Layer
from sbs.networks.prunable import Span
from sbs.networks.structure import Structure, structure_of
from tests.other_networks import OTHERS, inputs_of

BLOCKS = {
    "resnet20": (r"layer[123]\.[0-2]", 9),
    "resnet56": (r"layer[123]\.[0-8]", 27),
    "resnet18": (r"layer[1-4]\.[01]", 8),
    "resnet50": (r"layer[1-4]\.[0-5]", 16),
    "mobilenet_v2": (r"features\.([2-9]|1[0-7])\.conv", 16),
    "mobilenet_v3": (r"features\.([2-9]|1[0-5])\.block", 14),
}
"""Names of the residual blocks that the paper prunes, and their number."""

SQUEEZED = {f"features.{place}.block" for place in (4, 5, 6, 11, 12, 13, 14, 15)}
RECTIFIED = {f"features.{place}.block" for place in range(1, 7)}


def block_of(name: str, layer: str) -> str:
    match = re.match(BLOCKS[name][0], layer)
    assert match is not None, layer
    return match[0]


def by_hand(name: str, block: str) -> Prunable:
    """What shrinks with a block's first convolution."""
    if name.startswith("resnet"):
        return Prunable(f"{block}.conv1", (Span(f"{block}.bn1"),), (), (Span(f"{block}.conv2"),))
    norms = (Span(f"{block}.0.1"), Span(f"{block}.1.1"))
    if name == "mobilenet_v2":
        return Prunable(f"{block}.0.0", norms, (f"{block}.1.0",), (Span(f"{block}.2"),))
    if block not in SQUEEZED:
        return Prunable(f"{block}.0.0", norms, (f"{block}.1.0",), (Span(f"{block}.2.0"),))
    producers = (f"{block}.1.0", f"{block}.2.fc2")
    consumers = (Span(f"{block}.2.fc1"), Span(f"{block}.3.0"))
    return Prunable(f"{block}.0.0", norms, producers, consumers)


@pytest.mark.parametrize("name", BLOCKS)
def test_filters_of_the_papers_networks_are_those_written_down_by_hand(name: str) -> None:
    found = get_spec(name).prunables(build_network(name, 10))
    assert len(found) == BLOCKS[name][1]
    for prunable in found:
        assert prunable == by_hand(name, block_of(name, prunable.layer))


@pytest.mark.parametrize("name", BLOCKS)
def test_the_first_and_the_last_layer_are_those_written_down_by_hand(name: str) -> None:
    spec = get_spec(name)
    known = {"mobilenet_v2": ("features.0.0", "classifier.1")}
    known |= {"mobilenet_v3": ("features.0.0", "classifier.3")}
    assert (spec.first_layer, spec.last_layer) == known.get(name, ("conv1", "fc"))


def signed_by_hand(name: str, layers: tuple[str, ...]) -> set[str]:
    if name.startswith("resnet"):
        return {"conv1"}
    if name == "mobilenet_v2":  # what reads the image, or a bottleneck without nonlinearity
        expansions = {f"features.{place}.conv.0.0" for place in range(2, 18)}
        return {"features.0.0", "features.18.0"} | expansions
    behind_relu = {
        layer
        for layer in layers
        if layer.partition(".block")[0] + ".block" in RECTIFIED and not layer.endswith("block.0.0")
    }
    return set(layers) - behind_relu - {layer for layer in layers if layer.endswith("fc2")}


@pytest.mark.parametrize("name", BLOCKS)
def test_signs_of_the_papers_networks_are_those_written_down_by_hand(name: str) -> None:
    found = structure_of(build_network(name, 10))
    assert found.signed == signed_by_hand(name, found.layers)


# --- other networks

UNKNOWN_TO_KIRIGAMI = {"efficientnet", "convnext", "vit"}
"""It has no rule for stochastic depth and for the checks of a transformer's inputs."""


def layers_of(model: nn.Module) -> set[str]:
    return {name for name, one in model.named_modules() if isinstance(one, Layer)}


def shrinking(graph: DependencyGraph, fixed: tuple[Fixed, ...], layer: str) -> set[str] | None:
    """Parameters that lose something with the first filter of a layer; None if it must stay."""
    weight = graph.parameter(f"{layer}.weight")
    impact = graph.propagate(remove=[weight.axis(0).select([0])], constraints=fixed)
    if impact.status != "resolved":
        return None
    found = (one.tensor for one in impact.selections.values())
    return {tensor.paths[0] for tensor in found if tensor.kind == "parameter"}


def parameters_of(model: nn.Module, prunable: Prunable) -> set[str]:
    norms, readers = ([span.name for span in one] for one in (prunable.norms, prunable.consumers))
    names = [prunable.layer, *norms, *prunable.producers, *readers]
    written = {prunable.layer, *norms, *prunable.producers}
    return {
        f"{name}.{key}"
        for name in names
        for key, _ in model.get_submodule(name).named_parameters()
        if key == "weight" or name in written
    }


@pytest.mark.parametrize("name", OTHERS)
def test_filters_of_other_networks_shrink_with_what_a_library_says(name: str) -> None:
    model = OTHERS[name]().eval()
    found = structure_of(model)
    assert set(found.layers) <= layers_of(model)
    assert {one.layer for one in found.prunables} | found.whole.keys() == set(found.layers)
    assert len(found.first) == len(found.last) == 1
    if name in UNKNOWN_TO_KIRIGAMI:
        return
    graph = DependencyGraph.build(model, args=(inputs_of(name),))
    fixed = tuple(
        Fixed(one.axis(place)) for one in graph.interfaces() for place in range(len(one.shape))
    )
    for prunable in found.prunables:
        assert shrinking(graph, fixed, prunable.layer) == parameters_of(model, prunable)


@pytest.mark.parametrize("name", OTHERS)
def test_inputs_said_to_have_no_sign_are_never_negative(name: str) -> None:
    torch.manual_seed(0)
    model = OTHERS[name]().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.bias, -0.5, 0.5)
    lowest: dict[str, float] = {}
    for layer in layers_of(model):
        module = model.get_submodule(layer)
        module.register_forward_pre_hook(
            lambda _, args, key=layer: lowest.update({key: float(args[0].min())})
        )
    with torch.no_grad():
        model(inputs_of(name))
    negative = {layer for layer, value in lowest.items() if value < 0}
    assert negative <= structure_of(model).signed


PRUNABLE = {
    "resnext": 0,  # all are added, in groups, or read in groups
    "densenet": 21,  # all but the first: their outputs are concatenated, or read by one layer
    "googlenet": 56,  # all but the first
    "squeezenet": 24,  # three a block, which are all but the first and the last
    "vgg11": 7,  # all but the first; a linear layer reads the last one's 2 x 2 pixels
    "convnext": 0,
    "vit": 0,
    "unet": 8,  # all but those at the ends, those that are upsampled, and those of the bottom
    "signals": 2,  # one with the depthwise layer behind it, and one that a linear layer reads
}


@pytest.mark.parametrize("name", PRUNABLE)
def test_other_networks_can_lose_filters_where_nothing_ties_them(name: str) -> None:
    assert len(structure_of(OTHERS[name]()).prunables) == PRUNABLE[name]


# --- small networks, one reason each


class Small(nn.Module):
    """A convolution, one whose filters are in question, something, and two more layers."""

    def __init__(self, between: Callable[[Small, Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.asked = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.instance = nn.InstanceNorm2d(8)
        self.reader = nn.Conv2d(8, 4, 1)
        self.wide = nn.Conv2d(16, 4, 1)
        self.linear = nn.Linear(8, 4)
        self.fc = nn.Linear(4, 2)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc(self.between(self, self.asked(self.first(x))))
        return result


def structure(between: Callable[[Small, Tensor], Tensor]) -> Structure:
    return structure_of(Small(between))


def pooled(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


REASONS: dict[str, tuple[Callable[[Small, Tensor], Tensor], str]] = {
    "groups": (lambda net, y: pooled(net.reader(net.grouped(y))), "grouped reads them in groups"),
    "linear": (lambda net, y: net.linear(y).mean((1, 2)), "linear reads another dimension of them"),
    "module": (
        lambda net, y: pooled(net.reader(net.instance(y))),
        r"instance \(InstanceNorm2d\) reads them",
    ),
    "function": (lambda net, y: pooled(net.reader(y.flip(1))), "flip reads them"),
    "cat": (lambda net, y: pooled(net.reader(torch.cat([y, y], 2))), "they are concatenated with"),
    "sum": (
        lambda net, y: pooled(net.reader(y + net.grouped(y))),
        "grouped reads them in groups",
    ),
    "residual": (
        lambda net, y: pooled(net.reader(y + net.norm(net.grouped(y.sin())))),
        "sin reads them",
    ),
    "shared": (lambda net, y: pooled(net.reader(net.grouped(net.grouped(y)))), "several places"),
}


@pytest.mark.parametrize("name", REASONS)
def test_a_convolution_that_keeps_its_filters_says_why(name: str) -> None:
    between, reason = REASONS[name]
    assert re.search(reason, structure(between).whole["asked"])


class Branches(nn.Module):
    """Two branches that are concatenated, normalised together, and read by two kinds of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.one, self.two = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(18)
        self.reader = nn.Conv2d(18, 5, 3, padding=1)
        self.linear = nn.Linear(5 * 4 * 4, 10)
        self.fc = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y = torch.cat([self.one(y), y, self.two(y)], dim=1)
        y = F.relu(self.reader(F.relu(self.norm(y))))
        result: Tensor = self.fc(F.relu(self.linear(y.flatten(1))))
        return result


def test_channels_have_their_places_behind_concatenations_and_in_flattened_images() -> None:
    found = {one.layer: one for one in structure_of(Branches()).prunables}
    assert found == {
        "one": Prunable("one", (Span("norm", 0),), (), (Span("reader", 0),)),
        "two": Prunable("two", (Span("norm", 12),), (), (Span("reader", 12),)),
        "reader": Prunable("reader", (), (), (Span("linear", 0, 16),)),
    }
    assert Span("linear", 3, 2).places([0, 2]) == [3, 4, 7, 8]


class Own(nn.Conv2d):
    """A convolution that does something else."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


def tied(net: Small, y: Tensor) -> Tensor:
    return pooled(net.reader(net.grouped(y)))


def test_layers_that_surgery_would_break_are_left_alone() -> None:
    def found(change: Callable[[Small], object], *, twice: bool = False) -> dict[str, str]:
        net = Small(lambda net, y: tied(net, net.asked(y) if twice else y))
        change(net)
        left = structure_of(net)
        assert not left.alone.keys() & set(left.layers)
        return left.alone

    assert found(lambda net: None) == {}
    assert found(lambda net: None, twice=True) == {"asked": "asked is used at several places"}
    shared = found(lambda net: setattr(net.fc, "weight", net.reader.weight))
    assert shared["reader"] == "reader shares its weights with another layer"
    own = found(lambda net: setattr(net, "asked", Own(8, 8, 3, padding=1)))
    assert own == {"asked": "asked (Own) has a forward pass of its own"}
    computed = found(lambda net: parametrizations.weight_norm(net.asked))
    assert computed == {"asked": "asked computes its weights from others"}


def test_added_filters_stay_and_name_each_other() -> None:
    found = structure_of(build_network("resnet20", 10))
    assert found.whole["layer1.0.conv2"] == "they are added to those of conv1"
    assert found.whole["layer2.0.downsample.0"] == "they are added to those of layer2.0.conv2"
    assert found.whole["fc"] == "only convolutions lose filters"


def test_a_number_changes_the_sign_alone() -> None:
    found = structure(lambda net, y: pooled(net.reader(F.relu(y) - 1)))
    assert [one.layer for one in found.prunables] == ["asked", "reader"]
    assert "reader" in found.signed
    found = structure(lambda net, y: pooled(net.reader(F.relu(y))))
    assert "reader" not in found.signed


def test_several_inputs_and_outputs_have_several_ends() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(1, 8, 3)
            self.c, self.d, self.e = (nn.Conv2d(8, 8, 3) for _ in range(3))

        def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            z = F.relu(self.a(x) + self.b(y))
            z = self.c(z)
            return {"one": self.d(z), "two": self.e(z)}

    found = structure_of(Both())
    assert (found.first, found.last) == ({"a", "b"}, {"d", "e"})
    assert [one.layer for one in found.prunables] == ["c"]
    assert found.prunables[0].consumers == (Span("d"), Span("e"))
