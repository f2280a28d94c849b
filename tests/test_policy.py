"""Policies on disk: their order means nothing, and they fit their own network alone."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from sbs.cost.trace import trace_layers
from sbs.errors import SBSError
from sbs.networks import build_network, get_spec
from sbs.policy import Policy, uniform_policy
from sbs.registry.networks import networks
from sbs.runtime.checkpoints import save_weights
from sbs.stages.export import run as export
from sbs.surgery.networks import plain_state, quantized_network

IMAGES = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def small_network() -> tuple[nn.Module, Policy]:
    """ResNet-20 and a 4-bit policy of it, with the shapes of its layers."""
    torch.manual_seed(0)
    model = build_network("resnet20", 10)
    shapes = trace_layers(model, (3, 16, 16))
    policy = uniform_policy("resnet20", [shape.name for shape in shapes], 4)
    return model, policy.with_shapes({shape.name: shape.weight_shape for shape in shapes})


def shuffled(policy: Policy) -> Policy:
    """The same policy, its last layer first."""
    return policy.model_copy(update={"layers": dict(reversed(policy.layers.items()))})


@pytest.mark.parametrize("quantizer", ["interval", "dorefa_pact", "linear", "dq"])
def test_the_order_of_layers_means_nothing(quantizer: str, tmp_path: Path) -> None:
    plain, policy = small_network()
    policy = policy.model_copy(update={"quantizer": quantizer})
    outputs, files = [], []
    for way, chosen in (("forward", policy), ("shuffled", shuffled(policy))):
        folder = tmp_path / way
        chosen.save(folder / "policy.json")
        loaded = Policy.load(folder / "policy.json")
        assert list(loaded.layers) == list(chosen.layers)
        model = quantized_network(copy.deepcopy(plain), get_spec("resnet20"), loaded)
        outputs.append(model.train()(IMAGES).detach())
        save_weights(plain_state(model), folder / "weights.safetensors")
        packed = folder / "packed.safetensors"
        export(folder / "policy.json", folder / "weights.safetensors", packed)
        files.append(load_file(packed))
    assert torch.equal(outputs[0], outputs[1])
    assert files[0].keys() == files[1].keys()
    for name, value in files[0].items():
        assert torch.equal(value, files[1][name]), name


@pytest.mark.parametrize("name", networks())
def test_first_and_last_layer_are_those_of_a_forward_pass(name: str) -> None:
    spec = get_spec(name)
    shapes = trace_layers(build_network(name, 10), (3, 64, 64))
    assert (spec.first_layer, spec.last_layer) == (shapes[0].name, shapes[-1].name)


def test_a_policy_of_another_network_is_refused(tmp_path: Path) -> None:
    model, policy = small_network()
    stranger = policy.model_copy(update={"network": "resnet56"})
    with pytest.raises(SBSError, match="of resnet56, but the network is resnet20"):
        quantized_network(model, get_spec("resnet20"), stranger)
    stranger.save(tmp_path / "policy.json")
    with pytest.raises(SBSError, match=r"policy\.json: network: .*resnet56.*resnet20"):
        Policy.load(tmp_path / "policy.json", "resnet20")


def test_a_policy_of_other_shapes_is_refused() -> None:
    model, policy = small_network()
    grey = build_network("resnet20", 10, 1)
    with pytest.raises(SBSError, match=r"'conv1'.*16 x 3 x 3 x 3.*16 x 1 x 3 x 3"):
        quantized_network(grey, get_spec("resnet20"), policy)
    quantized_network(model, get_spec("resnet20"), policy)


def test_policies_without_shapes_are_still_read(tmp_path: Path) -> None:
    model, policy = small_network()
    content = json.loads(policy.model_dump_json())
    for layer in content["layers"].values():
        del layer["weight_shape"]
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(content))
    loaded = Policy.load(path)
    assert loaded.layers["conv1"].weight_shape is None
    quantized_network(model, get_spec("resnet20"), loaded)
