"""Costs that are known layer by layer: their interpolation in a search, and tables as files."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from sbs.cost.closed_form import ClosedFormCost
from sbs.cost.exact import policy_cost
from sbs.cost.expected import expected_cost
from sbs.cost.interpolated import InterpolatedCost
from sbs.cost.layers import LayerShape
from sbs.cost.table import COLUMNS
from sbs.cost.template import write_template
from sbs.cost.trace import trace_layers
from sbs.errors import SBSError
from sbs.networks import build_network, get_spec
from sbs.policy import Bitwidths, uniform_policy
from sbs.registry.costs import cost_model
from sbs.surgery.search import GateState, SearchSpace, search_network
from tests.devices import DEVICE
from tests.gated import SHAPES, space_of

LATENCY = "bitfusion-latency"
BITS = (2, 4, 8)


def cost_of(space: SearchSpace, resource: str) -> Callable[[GateState], Tensor]:
    return InterpolatedCost(space, SHAPES, resource, propagate=True, device=DEVICE)


def decided(space: SearchSpace, seed: int) -> GateState:
    """Random decided gates, with all filters."""
    generator = torch.Generator().manual_seed(seed)

    def nested(gates: Tensor) -> Tensor:
        levels = torch.randint(gates.shape[1] + 1, (len(gates), 1), generator=generator)
        return (torch.arange(gates.shape[1]) < levels).to(gates)

    state = space.state().map(torch.Tensor.detach)
    return replace(
        state,
        weight_bits=nested(state.weight_bits),
        activation_bits=nested(state.activation_bits),
    )


@pytest.mark.device
@pytest.mark.parametrize("resource", [LATENCY, "bitfusion-energy"])
@pytest.mark.parametrize("seed", range(3))
def test_decided_bits_cost_what_the_model_says(resource: str, seed: int) -> None:
    space = space_of()
    state = decided(space, seed)
    exact = policy_cost(SHAPES, space.prunables, space.policy_of(state), resource)
    assert float(cost_of(space, resource)(state)) == pytest.approx(exact, rel=1e-9)


def test_the_gradient_of_a_bit_gate_is_the_difference_that_it_makes() -> None:
    space = space_of()
    state = decided(space, 5)
    leaves = state.map(lambda gates: gates.clone().requires_grad_())
    cost_of(space, LATENCY)(leaves).backward()  # type: ignore[no-untyped-call]
    model = cost_model(LATENCY).layer
    policy = space.policy_of(state)
    searched = SHAPES[1:-1]
    assert leaves.weight_bits.grad is not None
    assert leaves.activation_bits.grad is not None
    for row, shape in enumerate(searched):
        chosen = policy.layers[shape.name]
        w, a = chosen.weight_bits, chosen.activation_bits
        # The outermost open gate, and the first closed one; those behind it change nothing.
        at = BITS.index(w)
        for gate in {max(at - 1, 0), min(at, 1)}:
            made = model(shape, BITS[gate + 1], a) - model(shape, BITS[gate], a)
            assert float(leaves.weight_bits.grad[row, gate]) == pytest.approx(
                made, rel=1e-5, abs=1e-15
            )
        at = BITS.index(a)
        for gate in {max(at - 1, 0), min(at, 1)}:
            made = model(shape, w, BITS[gate + 1]) - model(shape, w, BITS[gate])
            assert float(leaves.activation_bits.grad[row, gate]) == pytest.approx(
                made, rel=1e-5, abs=1e-15
            )


@pytest.mark.device
@pytest.mark.parametrize("resource", ["bops", "memory"])
@pytest.mark.parametrize("network", ["resnet20", "mobilenet_v3"])
def test_a_cost_with_a_closed_form_is_interpolated_without_error(
    network: str, resource: str
) -> None:
    spec, model = get_spec(network), build_network(network, 10, 1)
    shapes = trace_layers(model, (1, 32, 32))
    policy = uniform_policy(network, [shape.name for shape in shapes], 8)
    space = search_network(
        model,
        spec,
        policy,
        bitwidths=Bitwidths((3, 6, 12)),
        group_size=4,
        metric="rank",
        placement="reader",
    )
    torch.manual_seed(3)
    state = space.state().map(torch.rand_like)
    # Some eighth of each layer's filters stays: without any, a layer costs nothing here.
    state = replace(state, groups=state.groups * 0.8 + 0.2)
    costs = []
    for kind in (ClosedFormCost, InterpolatedCost):
        leaves = state.map(lambda gates: gates.detach().clone().requires_grad_())
        cost = kind(space, shapes, resource, propagate=True, device=DEVICE)(leaves)
        cost.backward()  # type: ignore[no-untyped-call]
        costs.append((cost.detach(), *(getattr(leaves, name).grad for name in vars(leaves))))
    for closed_form, interpolated in zip(*costs, strict=True):
        torch.testing.assert_close(closed_form, interpolated, rtol=1e-6, atol=0)


def test_pruning_moves_the_cost_along_straight_lines_between_eighths() -> None:
    space = space_of()
    cost = cost_of(space, LATENCY)
    state = space.state().map(torch.Tensor.detach)

    def interpolated(first_group: float, closed: int = 0) -> float:
        """Cost with the first layer's groups 2 to ``closed`` + 1 closed."""
        groups = state.groups.clone()
        groups[0], groups[1 : closed + 1] = first_group, 0
        return float(cost(replace(state, groups=groups)))

    def exact(kept: int) -> float:
        policy = space.policy_of(state)
        layer = policy.layers["layer1.0.conv1"].model_copy(update={"kept": tuple(range(kept))})
        layers = policy.layers | {"layer1.0.conv1": layer}
        policy = policy.model_copy(update={"layers": layers})
        return policy_cost(SHAPES, space.prunables, policy, LATENCY)

    assert next(name for name, _, _ in space.groups_of(state)) == "layer1.0.conv1"
    # 16 filters in groups of 4, so an eighth are 2 filters.
    for closed in range(3):
        assert interpolated(1, closed) == pytest.approx(exact(16 - 4 * closed), rel=1e-9)
        assert interpolated(0, closed) == pytest.approx(exact(12 - 4 * closed), rel=1e-9)
    assert interpolated(0.25) == pytest.approx((exact(12) + exact(14)) / 2, rel=1e-9)


def test_the_kind_follows_from_the_cost_model() -> None:
    space = space_of(prune=False)
    for resource, kind in (("bops", ClosedFormCost), (LATENCY, InterpolatedCost)):
        found = expected_cost(space, SHAPES, resource, propagate=True, device=DEVICE)
        assert isinstance(found, kind)


# --- tables as files


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Latencies of ResNet-20 on digits, as somebody would have measured them."""
    path = tmp_path / "costs.csv"
    write_template("resnet20", BITS, 4, path, 10, 8, 1, resource=LATENCY)
    return path


def test_a_table_gives_back_what_was_measured(table: Path) -> None:
    model, measured = cost_model(f"table:{table}"), cost_model(LATENCY)
    draw = random.Random(0)
    for shape in SHAPES[1:-1]:
        for _ in range(3):
            bits = draw.choice(BITS), draw.choice(BITS)
            assert model.layer(shape, *bits) == measured.layer(shape, *bits)
    assert (model.file, model.closed_form, model.name) == (table, False, f"table:{table}")


def test_a_table_is_interpolated_in_the_channels(table: Path) -> None:
    layer, measured = cost_model(f"table:{table}").layer, cost_model(LATENCY).layer
    shape = next(s for s in SHAPES if s.name == "layer3.0.conv1")  # 32 -> 64
    full = measured(shape, 4, 4)
    three_quarters = measured(replace(shape, out_channels=48), 4, 4)
    assert layer(replace(shape, out_channels=48), 4, 4) == three_quarters
    found = layer(replace(shape, out_channels=60), 4, 4)
    assert found == pytest.approx(0.25 * three_quarters + 0.75 * full)
    quarter = measured(replace(shape, out_channels=16), 4, 4)
    assert layer(replace(shape, out_channels=4), 4, 4) == pytest.approx(quarter / 4)


def test_one_row_a_layer_makes_its_cost_proportional(tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    write_template("resnet20", [4], 1, path, 10, 8, 1, resource="bops")
    layer = cost_model(f"table:{path}").layer
    shape = SHAPES[2]
    half = replace(shape, in_channels=8, out_channels=8)
    assert layer(half, 4, 4) == pytest.approx(layer(shape, 4, 4) / 4)


def test_depthwise_layers_stand_once_in_a_table(tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    write_template("mobilenet_v2", [8], 4, path, 10, 32, 3, resource="bops")
    model, bops = cost_model(f"table:{path}"), cost_model("bops")
    shapes = trace_layers(build_network("mobilenet_v2", 10), (3, 32, 32))
    depthwise = next(shape for shape in shapes if shape.depthwise)
    for filters in (depthwise.out_channels, 5, 1):
        channels = dict.fromkeys(("in_channels", "out_channels", "groups"), filters)
        pruned = replace(depthwise, **channels)  # type: ignore[arg-type]
        assert model.layer(pruned, 8, 8) == pytest.approx(bops.layer(pruned, 8, 8))


def test_the_template_to_fill_in_lists_every_layer_once(tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    write_template("resnet20", BITS, 2, path)
    rows = pd.read_csv(path)
    assert tuple(rows.columns) == COLUMNS
    assert rows["cost"].isna().all()
    assert not rows.duplicated().any()
    first = rows[(rows["in_channels"] == 3) & (rows["kind"] == "conv")]
    assert first[["weight_bits", "activation_bits"]].to_numpy().tolist() == [[8, 8]]
    with pytest.raises(SBSError, match=r"costs.csv, line 2: cost is empty; measure this layer"):
        cost_model(f"table:{path}")


def edited(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    wrong = path.with_name(f"wrong-{abs(hash((old, new)))}.csv")
    wrong.write_text(text.replace(old, new, 1))
    return wrong


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind,", "sort,", "the columns must be kind, in_channels"),
        ("conv,1,16", "pool,1,16", r"line 2: kind: 'pool'; write conv or linear"),
        ("conv,1,16", "conv,0,16", r"line 2: in_channels: '0'; write a whole number from 1 on"),
        ("conv,1,16", "conv,x,16", r"line 2: in_channels: 'x'"),
        (",8,8,8,8,8,8,", ",8,8,8,8,8,8,-", r"line 2: cost: '-.*'; write a positive number"),
        ("conv,16,4,", "conv,16,8,", r"stands twice; remove one of the rows"),
    ],
)
def test_a_wrong_table_is_refused(table: Path, old: str, new: str, message: str) -> None:
    path = edited(table, old, new)
    with pytest.raises(SBSError, match=message):
        cost_model(f"table:{path}").layer(SHAPES[1], 4, 4)


def test_a_table_without_a_layer_says_which(table: Path) -> None:
    layer = cost_model(f"table:{table}").layer
    shape: LayerShape = SHAPES[3]
    with pytest.raises(SBSError, match=r"costs.csv: no row for layer .* with 3-bit weights"):
        layer(shape, 3, 4)
    with pytest.raises(SBSError, match="sbs cost-table"):
        layer(replace(shape, out_channels=17), 4, 4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("table", "write table:costs.csv, with the path of your table"),
        ("table:nowhere.csv", "nowhere.csv: cannot read the table of costs: No such file"),
        ("bitfusion-energy:", "nothing follows the colon; name a file, or remove it"),
        ("bops:fast", "nothing can follow 'bops'; remove the colon"),
        ("speed:fast", "unknown cost model 'speed'; known are bitfusion-latency"),
    ],
)
def test_a_wrong_name_of_a_cost_is_refused(name: str, message: str) -> None:
    with pytest.raises(SBSError, match=message):
        cost_model(name)


def test_a_policy_has_a_cost_by_a_table(table: Path) -> None:
    prunables = get_spec("resnet20").prunables(build_network("resnet20", 10, 1))
    policy = uniform_policy("resnet20", [shape.name for shape in SHAPES], 8)
    costs = [policy_cost(SHAPES, prunables, policy, name) for name in (LATENCY, f"table:{table}")]
    assert costs[0] == pytest.approx(costs[1], rel=1e-12)
