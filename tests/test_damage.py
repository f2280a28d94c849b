"""Damaged files: a flipped bit, another byte, a cut. One clear error each time, never a value."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sbs.errors import SBSError
from sbs.export.packed import load
from sbs.networks import build_network
from sbs.policy import Policy, uniform_policy
from sbs.runtime.checkpoints import read_weights, save_weights
from sbs.stages.export import run as export
from sbs.stages.finetune import evaluate_file
from sbs.surgery.layers import leaf_layers
from tests.records import record

DAMAGES = 300


def damages(content: bytes, header: int) -> Iterator[bytes]:
    """Damaged copies: half of them in the first ``header`` bytes, where a file describes itself."""
    rng = random.Random(0)
    for number in range(DAMAGES):
        place = rng.randrange(header if number % 2 else len(content))
        kind = number % 3
        if kind == 2:
            yield content[:place]
            continue
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.randrange(8) if kind else rng.randrange(1, 256)
        yield bytes(damaged)


def header_of(content: bytes) -> int:
    """Bytes before the tensors of a safetensors file."""
    return 8 + int.from_bytes(content[:8], "little")


def assert_always_noticed(path: Path, header: int, read: Callable[[Path], object]) -> None:
    content = path.read_bytes()
    read(path)
    for damaged in damages(content, header):
        path.write_bytes(damaged)
        with pytest.raises(SBSError) as caught:
            read(path)
        message = str(caught.value)
        assert str(path) in message
        assert "again" in message or "rerun" in message
        assert "\n" not in message
    path.write_bytes(content)
    read(path)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return uniform_policy("resnet20", leaf_layers(build_network("resnet20", 10, 1)), 4)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    save_weights(build_network("resnet20", 10, 1).state_dict(), path)
    return path


def test_damaged_weights_are_noticed(weights: Path) -> None:
    assert_always_noticed(weights, header_of(weights.read_bytes()), read_weights)


def test_a_damaged_export_is_noticed(weights: Path, policy: Policy, tmp_path: Path) -> None:
    policy.save(tmp_path / "policy.json")
    path = tmp_path / "network.safetensors"
    export(tmp_path / "policy.json", weights, path)
    assert_always_noticed(path, header_of(path.read_bytes()), load)


def test_evaluation_of_a_damaged_export_says_so(
    weights: Path, policy: Policy, tmp_path: Path, digits_file: Path
) -> None:
    policy.save(tmp_path / "policy.json")
    path = tmp_path / "network.safetensors"
    export(tmp_path / "policy.json", weights, path)
    content = path.read_bytes()
    for damaged in list(damages(content, header_of(content)))[:30]:
        path.write_bytes(damaged)
        with pytest.raises(SBSError, match=rf"{path}: .*again"):
            evaluate_file("resnet20", digits_file, path, None)


def test_a_damaged_policy_is_noticed_by_the_record_beside_it(
    policy: Policy, tmp_path: Path
) -> None:
    from sbs.provenance.files import sha256_of_file

    path = tmp_path / "policy.json"
    policy.save(path)
    outputs = {path.name: sha256_of_file(path)}
    record(stage="search", outputs=outputs).save(tmp_path / "search.json")
    assert_always_noticed(path, path.stat().st_size, Policy.load)


def test_without_a_record_a_policy_that_is_no_text_is_still_an_error(
    policy: Policy, tmp_path: Path
) -> None:
    path = tmp_path / "policy.json"
    policy.save(path)
    path.write_bytes(b"\xff" + path.read_bytes())
    with pytest.raises(SBSError, match=rf"{path}: not a valid policy"):
        Policy.load(path)


def test_weights_of_others_have_no_checksum(tmp_path: Path) -> None:
    path = tmp_path / "public.safetensors"
    save_file({"a": torch.ones(3)}, path)
    assert torch.equal(read_weights(path)["a"], torch.ones(3))


def test_equal_weights_are_equal_files(weights: Path, tmp_path: Path) -> None:
    """Whatever the order in which a library keeps its metadata."""
    again = tmp_path / "again.safetensors"
    for _ in range(5):
        save_weights(read_weights(weights), again)
        assert again.read_bytes() == weights.read_bytes()
