"""Surgery, cost, compression and export of networks that the paper does not have."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import sbs
from sbs.compression import call
from sbs.compression.goal import Goal
from sbs.cost.exact import policy_cost
from sbs.cost.expected import expected_cost
from sbs.cost.layers import uniform_policy_of
from sbs.cost.trace import trace_layers
from sbs.errors import SBSError
from sbs.export.packed import read
from sbs.export.verify import compare
from sbs.networks import NetworkSpec
from sbs.networks.structure import structure_of
from sbs.policy import FULL_PRECISION, Bitwidths, LayerPolicy, Policy
from sbs.surgery.networks import plain_state, quantized_layers, quantized_network, split_intervals
from sbs.surgery.search import search_network
from tests.other_networks import OTHERS, inputs_of, lively, shape_of

SPEC = NetworkSpec("other")
GROUP = 4


def network(name: str) -> nn.Module:
    torch.manual_seed(1)
    return lively(OTHERS[name]()).double()


def random_policy(name: str, model: nn.Module) -> Policy:
    """Bitwidths and kept groups of filters at random; 8 bits at the ends."""
    draw = random.Random(3)
    shapes = trace_layers(model, shape_of(name))
    layers = dict(uniform_policy_of("other", shapes, 8).layers)
    for shape in shapes:
        if not shape.end:
            bits = draw.choice((2, 4, 8)), draw.choice((2, 4, 8))
            layers[shape.name] = LayerPolicy(weight_bits=bits[0], activation_bits=bits[1])
    filters = {shape.name: shape.out_channels for shape in shapes}
    for prunable in SPEC.prunables(model):
        count = filters[prunable.layer]
        groups = range(-(-count // GROUP))
        chosen = draw.sample(groups, max(1, len(groups) // 2))
        kept = tuple(one for one in range(count) if one // GROUP in chosen)
        layers[prunable.layer] = layers[prunable.layer].model_copy(update={"kept": kept})
    return Policy(network="other", layers=layers)


@pytest.mark.parametrize("name", OTHERS)
def test_surgery_at_full_precision_changes_nothing(name: str) -> None:
    model, x = network(name), inputs_of(name).double()
    full = uniform_policy_of("other", trace_layers(model, shape_of(name)), FULL_PRECISION)
    with torch.no_grad():
        want = model(x)
        got = quantized_network(model, SPEC, full)(x)
    torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:.*std.*degrees of freedom.*")
@pytest.mark.parametrize("name", OTHERS)
def test_a_pruned_network_computes_what_closed_gates_compute_and_costs_as_much(name: str) -> None:
    model, x = network(name), inputs_of(name).double()
    policy, shapes = random_policy(name, model), trace_layers(model, shape_of(name))
    prunables = SPEC.prunables(model)
    space = search_network(
        copy.deepcopy(model),
        SPEC,
        uniform_policy_of("other", shapes, 8),
        bitwidths=Bitwidths((2, 4, 8)),
        group_size=GROUP,
        metric="rank",
        placement="reader",
    )
    space.model.double().eval()
    space.freeze(policy)
    pruned = quantized_network(copy.deepcopy(model), SPEC, policy).double().eval()
    # Those of raw weights start at the largest weight left.
    pruned.load_state_dict(split_intervals(plain_state(space.model))[1], strict=False)
    with torch.no_grad():
        want = pruned(x)
        got = space.model(x)
    torch.testing.assert_close(got, want, atol=1e-8, rtol=1e-6)
    if prunables:
        assert sum(p.numel() for p in pruned.parameters()) < sum(
            p.numel() for p in space.model.parameters()
        )
    space.model(x)
    for resource in ("bops", "memory"):
        cpu = torch.device("cpu")
        cost = expected_cost(space, shapes, resource, propagate=True, device=cpu)(space.state())
        exact = policy_cost(shapes, prunables, policy, resource)
        assert float(cost) == pytest.approx(exact, rel=1e-12)


def test_gates_at_batch_norms_of_signals_are_refused() -> None:
    model = network("signals")
    with pytest.raises(SBSError, match="wide_norm is a BatchNorm1d; take reader"):
        search_network(
            model,
            SPEC,
            uniform_policy_of("other", trace_layers(model, shape_of("signals")), 8),
            bitwidths=None,
            group_size=GROUP,
            metric="rank",
            placement="norm",
        )


@pytest.mark.parametrize("name", OTHERS)
def test_operations_are_those_that_pytorch_counts(name: str) -> None:
    model = network(name).float()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(inputs_of(name, 1))
    layers = structure_of(model).layers
    counts = counter.get_flop_counts()
    kind = type(model).__name__
    for shape in trace_layers(model, shape_of(name)):
        assert 2 * shape.macs == sum(counts[f"{kind}.{shape.name}"].values()), shape.name
    assert layers


def squared(model: nn.Module, batch: Tensor) -> Tensor:
    result: Tensor = model(batch).square().mean()
    return result


@pytest.mark.filterwarnings("ignore:.*std.*degrees of freedom.*")
@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_are_searched_fine_tuned_exported_and_verified(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "ENOUGH_STEPS", 1)
    torch.manual_seed(1)
    model = lively(OTHERS[name]()).train()
    batches = [inputs_of(name, 4)]
    example = inputs_of(name, 1)
    result = sbs.compress(
        model,
        batches,
        "8-bit",
        loss=squared,
        learning_rate=1e-4,
        example_input=example,
        search_epochs=2,
        epochs=1,
        verbose=False,
    )
    assert result.cost() <= Goal.parse("8-bit").target.factor * result.full_cost()
    assert all(entry["loss"] == entry["loss"] for entry in result.history["search"])
    result.save(tmp_path / "net.sbs")
    again = sbs.load(tmp_path / "net.sbs", model)
    own, layers = result.model.state_dict(), quantized_layers(result.model)
    for key, value in again.state_dict().items():
        layer = layers.get(key.removesuffix(".weight"))
        want = own[key] if layer is None else layer.quantized_weight()
        torch.testing.assert_close(value, want, msg=key)
    assert again(example).isfinite().all()
    assert result.export(tmp_path / "net.onnx").file < sum(value.nbytes for value in own.values())
    found = compare(tmp_path / "net.onnx", read(tmp_path / "net.sbs", model), [inputs_of(name, 2)])
    assert found.agrees, str(found)
    integers = {layer.name for layer in found.layers if layer.integer is not None}
    first = structure_of(model).first
    assert integers == set(layers) - first
