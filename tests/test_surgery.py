"""Search network with frozen gates, fixed-policy network and pruned network are one function."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from torch import Tensor, nn

from sbs.cost.exact import policy_cost
from sbs.cost.expected import expected_cost
from sbs.cost.trace import trace_layers
from sbs.errors import SBSError
from sbs.kernels import norm as norm_kernels
from sbs.networks import NetworkSpec, build_network, get_spec
from sbs.nn.filter_gate import FilterGate, Placement
from sbs.nn.layers import QuantConv2d
from sbs.policy import Bitwidths, LayerPolicy, Policy, uniform_policy
from sbs.surgery.layers import leaf_layers
from sbs.surgery.networks import plain_state, quantized_network, split_intervals
from sbs.surgery.pruning import remove_filters
from sbs.surgery.search import SearchSpace, search_network
from tests.devices import DEVICE

NETWORKS = [("resnet20", 10, 1, 8), ("resnet50", 10, 3, 64), ("mobilenet_v2", 10, 3, 32)]
NETWORKS += [("mobilenet_v3", 10, 3, 32)]


def plain_network(name: str, classes: int, channels: int) -> nn.Module:
    """A network with statistics that differ from channel to channel."""
    torch.manual_seed(1)
    model = build_network(name, classes, channels)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.5)
            module.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return model.eval()


def random_policy(name: str, model: nn.Module, spec: NetworkSpec, image: tuple[int, ...]) -> Policy:
    """Bitwidths of {2, 4, 8} and kept groups of four, at random; 8 bits first and last."""
    draw = random.Random(5)
    shapes = trace_layers(model, image)
    layers = dict(uniform_policy(name, [shape.name for shape in shapes], 8).layers)
    for shape in shapes[1:-1]:
        layers[shape.name] = LayerPolicy(
            weight_bits=draw.choice((2, 4, 8)), activation_bits=draw.choice((2, 4, 8))
        )
    filters = {shape.name: shape.out_channels for shape in shapes}
    for prunable in spec.prunables(model):
        groups = range(-(-filters[prunable.layer] // 4))
        kept = sorted(draw.sample(groups, max(1, len(groups) // 2)))
        index = [f for g in kept for f in range(4 * g, 4 * g + 4) if f < filters[prunable.layer]]
        layers[prunable.layer] = layers[prunable.layer].model_copy(update={"kept": tuple(index)})
    return Policy(network=name, layers=layers)


def searched(
    name: str, model: nn.Module, shapes: tuple[int, ...], placement: Placement = "reader"
) -> SearchSpace:
    """A search network over bitwidths and groups of four filters."""
    names = [shape.name for shape in trace_layers(model, shapes)]
    return search_network(
        copy.deepcopy(model),
        get_spec(name),
        uniform_policy(name, names, 8),
        bitwidths=Bitwidths((2, 4, 8)),
        group_size=4,
        metric="rank",
        placement=placement,
    )


@pytest.mark.device
@pytest.mark.parametrize("placement", ["reader", "norm", "weight"])
@pytest.mark.filterwarnings("ignore:.*std.*degrees of freedom.*")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("name", "classes", "channels", "size"), NETWORKS)
def test_three_networks_of_one_policy_agree(
    name: str,
    classes: int,
    channels: int,
    size: int,
    layout: torch.memory_format,
    placement: Placement,
) -> None:
    spec = get_spec(name)
    model = plain_network(name, classes, channels).double()
    image = (channels, size, size)
    policy = random_policy(name, model, spec, image)
    images = torch.rand(3, *image, dtype=torch.float64).contiguous(memory_format=layout)
    model = model.to(memory_format=layout)  # type: ignore[call-overload]

    space = searched(name, model, image, placement)
    space.model.double().eval()
    space.freeze(policy)
    pruned = quantized_network(copy.deepcopy(model), spec, policy).double().eval()
    # Fine-tuning takes the intervals over; those of raw weights start at the largest weight left.
    pruned.load_state_dict(split_intervals(plain_state(space.model))[1], strict=False)
    masked = masked_network(model, spec, policy).eval()

    with torch.no_grad():
        want = pruned(images)
        torch.testing.assert_close(space.model(images), want, atol=1e-8, rtol=1e-6)
        torch.testing.assert_close(masked(images), want, atol=1e-8, rtol=1e-6)
    assert sum(p.numel() for p in pruned.parameters()) < sum(
        p.numel() for p in space.model.parameters()
    )


# Not of MobileNets, whose signed quantizers put every zero on a tie: there rounding error decides.
@pytest.mark.parametrize(("name", "size"), [("resnet20", 8), ("resnet18", 64), ("resnet50", 64)])
def test_joined_batch_norms_change_no_gradient(
    name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes, channels = 10, 3
    image = (channels, size, size)
    model = plain_network(name, classes, channels).double()
    images = torch.rand(4, *image, dtype=torch.float64).to(memory_format=torch.channels_last)
    joins_norm, states = norm_kernels.joins_norm, []
    for fused in (True, False):
        joined: list[bool] = []

        def asked(raw: Tensor, fused: bool = fused, joined: list[bool] = joined) -> bool:
            joined.append(fused and joins_norm(raw))
            return joined[-1]

        monkeypatch.setattr(norm_kernels, "joins_norm", asked)
        network = searched(name, model, image).model.double().train()
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network(images).square().sum().backward()
        gradients = {key: value.grad for key, value in network.named_parameters()}
        states.append((dict(network.named_buffers()), gradients))
        assert any(joined) == fused
    torch.testing.assert_close(states[0], states[1], atol=1e-7, rtol=1e-5)


def masked_network(model: nn.Module, spec: NetworkSpec, policy: Policy) -> nn.Module:
    """Fixed bitwidths, pruned filters masked instead of removed: written without the gates."""
    unpruned = {
        name: layer.model_copy(update={"kept": None}) for name, layer in policy.layers.items()
    }
    plain = copy.deepcopy(model)
    masks: dict[str, Tensor] = {}
    for prunable in spec.prunables(plain):
        kept = policy.layers[prunable.layer].kept
        assert kept is not None
        mask = torch.zeros(plain.get_submodule(prunable.layer).out_channels, dtype=torch.float64)  # type: ignore[arg-type]
        mask[list(kept)] = 1
        masks |= dict.fromkeys((span.name for span in prunable.norms), mask)
    fixed = quantized_network(plain, spec, Policy(network=policy.network, layers=unpruned))
    for prunable in spec.prunables(model):
        _use_statistics_of_kept_filters(fixed, prunable.layer, prunable, masks)
    for name, mask in masks.items():
        norm = fixed.get_submodule(name)
        assert isinstance(norm, nn.BatchNorm2d)
        norm.weight.data *= mask
        norm.bias.data *= mask
    return fixed.double()


def _use_statistics_of_kept_filters(
    model: nn.Module, name: str, prunable: object, masks: dict[str, Tensor]
) -> None:
    mask = masks[prunable.norms[0].name]  # type: ignore[attr-defined]
    gate = FilterGate(len(mask), 1, metric="raw", placement="norm")
    gate.hold(mask)
    for produced in (name, *prunable.producers):  # type: ignore[attr-defined]
        layer = model.get_submodule(produced)
        assert isinstance(layer, QuantConv2d)
        layer.share_outputs(gate)
    for consumed in prunable.consumers:  # type: ignore[attr-defined]
        layer = model.get_submodule(consumed.name)
        assert isinstance(layer, QuantConv2d)
        layer.share_inputs(gate)


@pytest.mark.device
def test_pruned_filters_output_exactly_zero() -> None:
    model = plain_network("resnet20", 10, 1)
    space = searched("resnet20", model, (1, 8, 8), "norm")
    policy = random_policy("resnet20", model, get_spec("resnet20"), (1, 8, 8))
    space.freeze(policy)
    seen: dict[str, Tensor] = {}
    reader = space.model.get_submodule("layer2.0.conv2")
    reader.register_forward_pre_hook(lambda _, args: seen.update(y=args[0]))
    space.model.train()(torch.rand(4, 1, 8, 8))
    kept = policy.layers["layer2.0.conv1"].kept
    assert kept is not None
    dropped = sorted(set(range(32)) - set(kept))
    assert bool((seen["y"][:, dropped] == 0).all())
    assert bool((seen["y"][:, list(kept)] != 0).any())


@pytest.mark.device
@pytest.mark.parametrize(("name", "classes", "channels", "size"), NETWORKS)
@pytest.mark.parametrize("resource", ["bops", "memory"])
def test_expected_cost_of_hard_gates_is_the_exact_cost_of_their_policy(
    name: str, classes: int, channels: int, size: int, resource: str
) -> None:
    spec = get_spec(name)
    model = plain_network(name, classes, channels)
    image = (channels, size, size)
    shapes = trace_layers(model, image)
    policy = random_policy(name, model, spec, image)
    space = searched(name, model, image)
    cost = expected_cost(space, shapes, resource, propagate=True, device=DEVICE)  # type: ignore[arg-type]
    for held in (uniform_policy(name, [s.name for s in shapes], 8), policy):
        space.freeze(held)
        space.model.eval()(torch.rand(2, *image))
        exact = policy_cost(shapes, space.prunables, held, resource)
        assert float(cost(space.state()).detach()) == pytest.approx(exact, rel=1e-6)
        assert space.policy_of(space.state()).layers == held.layers


@pytest.mark.device
def test_every_gate_gets_a_gradient_from_the_cost() -> None:
    model = plain_network("resnet20", 10, 1)
    shapes = trace_layers(model, (1, 8, 8))
    space = searched("resnet20", model, (1, 8, 8))
    cost = expected_cost(space, shapes, "bops", propagate=True, device=DEVICE)
    space.model.train()(torch.rand(4, 1, 8, 8))
    cost(space.state()).log().backward()
    for layer in list(space.layers.values())[1:-1]:
        for gate in (layer.weight_gate, layer.activation_gate):
            assert gate is not None
            assert gate.thresholds.grad is not None
            # More threshold, fewer bits, less cost.
            assert bool((gate.thresholds.grad < 0).all())
    for filter_gate in space.filter_gates.values():
        assert filter_gate.threshold.grad is not None
        assert float(filter_gate.threshold.grad) < 0


@pytest.mark.device
def test_batch_norm_cancels_the_loss_gradient_of_a_gate_on_the_weights() -> None:
    """Why no scale places the pruning gate at the weights."""
    gradients = {}
    placements: tuple[Placement, ...] = ("norm", "reader", "weight")
    for placement in placements:
        model = plain_network("resnet20", 10, 1).double()
        names = [shape.name for shape in trace_layers(model, (1, 8, 8))]
        space = search_network(
            model,
            get_spec("resnet20"),
            uniform_policy("resnet20", names, 32),
            bitwidths=None,
            group_size=4,
            metric="standardized",
            placement=placement,
        )
        space.model.double().train()
        logits = space.model(torch.rand(16, 1, 8, 8, dtype=torch.float64))
        nn.functional.cross_entropy(logits, torch.arange(16) % 10).backward()
        gradient = space.filter_gates["layer1.1.conv1"].threshold.grad
        assert gradient is not None
        gradients[placement] = abs(float(gradient))
    assert gradients["weight"] < 1e-3 * min(gradients["norm"], gradients["reader"])


def test_weights_survive_surgery_and_load_into_the_plain_network() -> None:
    model = plain_network("resnet20", 10, 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = plain_state(searched("resnet20", model, (1, 8, 8)).model)
    assert not any("gate" in name for name in state)
    for name, value in before.items():
        torch.testing.assert_close(state[name], value)


def test_a_policy_that_does_not_fit_is_refused_by_layer() -> None:
    spec, model = get_spec("resnet20"), build_network("resnet20", 10, 1)
    names = [shape.name for shape in trace_layers(model, (1, 8, 8))]
    good = uniform_policy("resnet20", names, 4)
    for name, change, message in (
        ("layer1.0.conv2", {"kept": (0, 1)}, "layer1.0.conv2.*cannot be pruned"),
        ("layer1.0.conv1", {"kept": (0, 99)}, "layer1.0.conv1.*keeps filter 99"),
    ):
        layers = good.layers | {name: good.layers[name].model_copy(update=change)}
        bad = Policy(network="resnet20", layers=layers)
        with pytest.raises(SBSError, match=message):
            quantized_network(model, spec, bad)
    stranger = Policy(network="resnet20", layers=good.layers | {"nowhere": good.layers["fc"]})
    with pytest.raises(SBSError, match="unknown layer 'nowhere'"):
        quantized_network(model, spec, stranger)


def test_frozen_layers_stay_frozen_where_they_lose_filters() -> None:
    model, spec = build_network("resnet20", 10), get_spec("resnet20")
    model.requires_grad_(requires_grad=False)
    policy = uniform_policy("resnet20", list(leaf_layers(model)), 8)
    layer = policy.layers["layer1.0.conv1"].model_copy(update={"kept": tuple(range(8))})
    pruned = policy.model_copy(update={"layers": policy.layers | {"layer1.0.conv1": layer}})
    remove_filters(model, spec.prunables(model), pruned)
    assert model.get_submodule("layer1.0.conv1").weight.shape[0] == 8
    assert not any(parameter.requires_grad for parameter in model.parameters())
