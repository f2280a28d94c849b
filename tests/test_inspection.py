"""What can be compressed of a network, and why not the rest."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

import sbs
from sbs.cost import inspection
from sbs.cost.exact import policy_cost
from sbs.cost.inspection import Inspection, inspect
from sbs.cost.trace import trace_layers
from sbs.errors import SBSError
from sbs.networks import build_network, get_spec
from sbs.policy import uniform_policy

IMAGE = torch.zeros(1, 3, 32, 32)


def reasons(found: Inspection) -> dict[str, str]:
    return {layer.name: layer.fixed_bits for layer in found.layers}


def test_a_network_of_the_paper_is_inspected_as_it_is_costed() -> None:
    model = build_network("resnet20", 100)
    found = sbs.inspect(model, IMAGE)
    shapes = trace_layers(model, (3, 32, 32))
    prunables = get_spec("resnet20").prunables(model)
    full = uniform_policy("resnet20", [shape.name for shape in shapes], 32)
    assert [layer.name for layer in found.layers] == [shape.name for shape in shapes]
    assert [layer.name for layer in found.layers if layer.prunable] == [
        prunable.layer for prunable in prunables
    ]
    for cost in found.costs:
        assert cost.full == policy_cost(shapes, prunables, full, cost.resource)
        assert 0 < cost.lowest < cost.full / 100 or cost.resource == "memory"
    assert found.macs == sum(shape.macs for shape in shapes)
    assert found.other_macs == 0
    assert reasons(found)["conv1"] == reasons(found)["fc"] == "8, as the first or the last layer"


def test_more_candidates_reach_lower() -> None:
    model = build_network("resnet20", 10)
    costs = [inspect(model, IMAGE, bitwidths=bits).costs[0].lowest for bits in ((4, 8), (2, 4, 8))]
    assert costs[0] > costs[1]
    large, small = (inspect(model, IMAGE, group_size=size).costs[0].lowest for size in (8, 1))
    assert large > small
    with pytest.raises(SBSError, match="do not nest"):
        inspect(model, IMAGE, bitwidths=(2, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bitwidths": 2}, r"arguments: bitwidths: .* valid tuple \(got 2\)"),
        ({"bitwidths": (8, 32)}, "arguments: bitwidths.1: Input should be less than 32"),
        ({"group_size": 0}, "arguments: group_size: .* greater than or equal to 1"),
    ],
)
def test_an_argument_that_is_not_valid_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SBSError, match=message):
        inspect(build_network("resnet20", 10), IMAGE, **change)


def test_a_network_without_weights_has_nothing_to_compress() -> None:
    assert str(inspect(nn.ReLU(), IMAGE)).endswith("nothing of this network can be compressed\n")


def test_large_costs_are_printed_without_exponents() -> None:
    text = str(inspect(build_network("resnet20", 100), IMAGE))
    assert "bops: 41,799 M BOPs at full precision; targets from" in text


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (IMAGE[:, :1], r"example input \(Tensor \(1, 1, 32, 32\)\): .* to have 3 channels"),
        ((IMAGE, "more"), r"example input \(Tensor \(1, 3, 32, 32\), str\): .*positional argument"),
    ],
)
def test_an_example_that_does_not_fit_is_named(example: Any, message: str) -> None:
    with pytest.raises(SBSError, match=message):
        inspect(build_network("resnet20", 100), example)


class Mixed(nn.Module):
    """Layers of which some stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.free = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc = nn.Linear(8, 5)
        self.unused = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(torch.relu(self.norm(self.free(self.first(x)))))
        x = x.flatten(2).transpose(1, 2)
        y: Tensor = self.fc(self.attention(x, x, x)[0].mean(1)) * self.scale
        return y


def test_layers_that_stay_are_named_with_the_reason() -> None:
    model = Mixed().train()
    model.norm.eval()
    found = inspect(model, torch.zeros(1, 3, 8, 8))
    assert reasons(found) == {
        "first": "8, as the first or the last layer",
        "free": "",
        "fc": "8, as the first or the last layer",
        "(network)": "a Mixed stays at full precision",
        "up": "a ConvTranspose2d stays at full precision",
        "attention": "a MultiheadAttention stays at full precision",
        "attention.out_proj": "inside attention (MultiheadAttention), which stays as it is",
        "unused": "the forward pass does not use it",
    }
    whole = {layer.name: layer.whole for layer in found.layers}
    assert whole["free"] == "up (ConvTranspose2d) reads them"
    assert found.other_macs > 0
    assert model.training
    assert not model.norm.training
    text = str(found)
    assert "are outside these layers" in text
    assert "targets from" in text


def test_a_network_that_cannot_be_traced_is_left_alone() -> None:
    class Branching(Mixed):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = super().forward(x)
            return y if float(y.sum()) > 0 else -y

    found = inspect(Branching(), torch.zeros(1, 3, 8, 8))
    assert not found.costs
    assert all("torch.fx cannot trace" in layer.fixed_bits for layer in found.layers)
    assert "nothing of this network can be compressed" in str(found)


class Branch(nn.Module):
    """A part that decides by the values."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        return y if float(y.sum()) > 0 else -y


def test_a_part_that_cannot_be_traced_is_left_alone_and_nothing_else() -> None:
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), Branch(), nn.Conv2d(8, 4, 3)),
        *(nn.Conv2d(4, 4, 1), nn.Flatten()),
    )
    found = inspect(model, torch.zeros(1, 3, 8, 8))
    assert [layer.name for layer in found.layers] == ["0", "1", "3", "4", "2.inner"]
    assert reasons(found)["2.inner"].startswith("inside 2 (Branch): torch.fx cannot trace it (")
    assert {layer.name: layer.whole for layer in found.layers}["1"] == "2 (Branch) reads them"
    assert found.layers[2].prunable
    assert found.other_macs == 8 * 8 * 4 * 4


@pytest.mark.parametrize("name", ["densenet121", "efficientnet_b0", "shufflenet_v2_x0_5"])
def test_all_operations_of_convolutional_networks_are_counted(name: str) -> None:
    """Ours and PyTorch's own count of operations agree."""
    found = inspect(getattr(models, name)(weights=None), torch.zeros(1, 3, 64, 64))
    assert found.macs > 0
    assert found.other_macs == 0


def test_the_example_in_the_documentation_is_true() -> None:
    failed, tried = doctest.testmod(inspection)
    assert tried > 0
    assert failed == 0


NETWORK = """
from torch import nn

def tiny():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 2, 1))

def nothing():
    return None
"""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mine:tiny", "--shape", "1,8,8"], "can be pruned"),
        (["mine:tiny", "--shape", "1,x"], "sbs: --shape 1,x: give positive numbers with commas"),
        (["mine:gone", "--shape", "1,8,8"], "sbs: mine:gone: AttributeError: module 'mine' has no"),
        (["mine:nothing", "--shape", "1,8,8"], "sbs: mine:nothing: returns a NoneType; it must"),
        (["mine", "--shape", "1,8,8"], "sbs: 'mine': give package.module:function"),
    ],
)
def test_the_command_inspects_a_network_of_the_working_folder(
    tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "mine.py").write_text(NETWORK)
    command = [str(Path(sys.executable).parent / "sbs"), "inspect", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert message in done.stdout + done.stderr
    assert (done.returncode == 0) == (message == "can be pruned")
