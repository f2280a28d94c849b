"""The reader of packed networks in the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sbs
from sbs.export.packed import export
from sbs.networks import build_network, get_spec
from sbs.nn.layers import QuantLayer
from sbs.policy import LayerPolicy, uniform_policy
from sbs.surgery.layers import leaf_layers
from sbs.surgery.networks import quantized_network
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def reader() -> dict[str, Any]:
    page = (ROOT / "docs" / "packed.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(code.splitlines()) <= 60
    names: dict[str, Any] = {}
    exec(compile(code, "packed.md", "exec"), names)
    return names


def exported(path: Path) -> None:
    torch.manual_seed(0)
    model = build_network("resnet20", 10, 1)
    policy = uniform_policy("resnet20", list(leaf_layers(model)), 2)
    layers = dict(policy.layers)
    for bits, name in zip((3, 4, 8, 32), list(layers)[2:], strict=False):
        layers[name] = LayerPolicy(weight_bits=bits, activation_bits=4)
    layers["layer1.0.conv1"] = LayerPolicy(weight_bits=2, activation_bits=4, kept=tuple(range(4)))
    policy = policy.model_copy(update={"layers": layers})
    export(quantized_network(model, get_spec("resnet20"), policy).eval(), policy, path)


def test_it_reads_what_the_project_reads(reader: dict[str, Any], tmp_path: Path) -> None:
    exported(tmp_path / "net.sbs")
    facts, tensors = reader["read"](tmp_path / "net.sbs")
    model = sbs.load(tmp_path / "net.sbs")
    state = model.state_dict()
    assert tensors.keys() == state.keys()
    for name, value in state.items():
        assert np.array_equal(tensors[name], value.numpy()), name
    assert facts["policy"]["layers"]["layer1.0.conv1"]["kept"] == [0, 1, 2, 3]
    quantized = [name for name, layer in model.named_modules() if isinstance(layer, QuantLayer)]
    assert set(facts["layers"]) < set(quantized)


def test_it_notices_damage(reader: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "net.sbs"
    exported(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="checksum"):
        reader["read"](path)
