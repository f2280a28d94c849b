"""Exported networks: the same logits from packed integers, for every quantizer."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from sbs.cli import app
from sbs.cost.layers import uniform_policy_of
from sbs.cost.trace import trace_with
from sbs.errors import SBSError
from sbs.export.packed import Sizes, export, is_export, load, read
from sbs.networks import NetworkSpec, build_network, get_spec
from sbs.policy import LayerPolicy, Policy
from sbs.runtime.checkpoints import save_weights
from sbs.stages.export import run
from sbs.stages.finetune import evaluate_file
from sbs.surgery.layers import leaf_layers
from sbs.surgery.networks import plain_state, quantized_network

IMAGES = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(1))
BITS = [(2, 4), (4, 8), (8, 2), (3, 6)]


def mixed(quantizer: str, channels: int = 3) -> tuple[nn.Module, Policy]:
    """ResNet-20 at mixed bitwidths, with batch norms that have seen images; pruned by intervals."""
    torch.manual_seed(0)
    plain, spec = build_network("resnet20", 10, channels), get_spec("resnet20")
    prunable = {one.layer for one in spec.prunables(plain)}
    layers = {}
    for number, name in enumerate(leaf_layers(plain)):
        weight, activation = BITS[number % len(BITS)]
        kept = tuple(range(0, 12)) if name in prunable and quantizer == "interval" else None
        layers[name] = LayerPolicy(weight_bits=weight, activation_bits=activation, kept=kept)
    policy = Policy(network="resnet20", quantizer=quantizer, layers=layers)
    model = quantized_network(plain, spec, policy)
    model.train()(IMAGES[:, :channels])
    return model.eval(), policy


@pytest.mark.parametrize("quantizer", ["interval", "dorefa_pact", "linear", "dq"])
def test_an_exported_network_gives_the_same_logits(quantizer: str, tmp_path: Path) -> None:
    model, policy = mixed(quantizer)
    path = tmp_path / "network.safetensors"
    sizes = export(model, policy, path)
    again = load(path)
    assert read(path).policy == policy
    with torch.no_grad():
        want, got = copy.deepcopy(model)(IMAGES), again(IMAGES)
    if quantizer == "dorefa_pact":  # 2 code / steps - 1 is rounded once more than scale and offset
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    else:
        assert torch.equal(got, want)
    assert sizes.file == path.stat().st_size
    # Three bits waste 2 of 32; every tensor may end in a word that is not full.
    assert sizes.claimed <= sizes.packed <= 32 / 30 * sizes.claimed + 4 * len(policy.layers)


def test_the_command_exports_trained_weights_and_evaluate_takes_them(
    digits_file: Path, tmp_path: Path
) -> None:
    model, policy = mixed("interval", channels=1)
    policy.save(tmp_path / "policy.json")
    weights, packed = tmp_path / "weights.safetensors", tmp_path / "packed.safetensors"
    save_weights(plain_state(model), weights)
    sizes = tmp_path / "sizes.json"
    words = ["export", "--policy", str(tmp_path / "policy.json"), "--weights", str(weights)]
    done = CliRunner().invoke(app, [*words, "--output", str(packed), "--sizes", str(sizes)])
    assert done.exit_code == 0, done.output
    assert json.loads(sizes.read_text())["file"] == packed.stat().st_size
    want = evaluate_file("resnet20", digits_file, weights, tmp_path / "policy.json")
    assert evaluate_file("resnet20", digits_file, packed, None) == want


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    _, policy = mixed("interval")
    policy.save(tmp_path / "policy.json")
    save_weights({"a": torch.ones(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(SBSError, match=r"no tensor 'conv1\.weight'"):
        run(tmp_path / "policy.json", tmp_path / "weights.safetensors", tmp_path / "out")


def test_full_precision_layers_stay_as_they_are(tmp_path: Path) -> None:
    plain, spec = build_network("resnet20", 10).eval(), get_spec("resnet20")
    names = leaf_layers(plain)
    policy = Policy(
        network="resnet20",
        layers={name: LayerPolicy(weight_bits=32, activation_bits=32) for name in names},
    )
    model = quantized_network(plain, spec, policy)
    sizes = export(model, policy, tmp_path / "full.safetensors")
    assert sizes == Sizes(0, 0, sizes.file)
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "full.safetensors")(IMAGES), model(IMAGES))


class Tied(nn.Sequential):
    """Two layers with the same weights, between others."""

    def __init__(self) -> None:
        super().__init__(*(nn.Linear(4, 4) for _ in range(4)))
        self[2].weight = self[1].weight


def test_tied_weights_are_saved_and_tied_again(tmp_path: Path) -> None:
    plain, x = Tied(), torch.rand(8, 4)
    shapes = trace_with(plain, (x[:1],))
    policy = uniform_policy_of("Tied", shapes, 4)
    model = quantized_network(copy.deepcopy(plain), NetworkSpec("Tied"), policy).eval()
    export(model, policy, tmp_path / "tied.sbs")
    again = load(tmp_path / "tied.sbs", plain)
    first, second = (again.get_submodule(name).weight for name in "12")
    assert first is second
    with torch.no_grad():
        assert torch.equal(again(x), model(x))


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    with pytest.raises(SBSError, match="no such export"):
        load(path)
    model, policy = mixed("interval")
    export(model, policy, path)
    assert is_export(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert not is_export(path)
    with pytest.raises(SBSError, match=r"damaged export .*; export the network again"):
        load(path)
    save_file({"a": torch.ones(1)}, path)
    assert not is_export(path)
    with pytest.raises(SBSError, match=r"damaged export \(it has no checksum\)"):
        load(path)
    save_weights({"a": torch.ones(1)}, path)
    assert not is_export(path)
    with pytest.raises(SBSError, match="not an exported network"):
        load(path)
