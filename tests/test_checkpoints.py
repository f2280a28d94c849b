"""Weights on disk: what loads, what is refused, and that the public ones are what they claim."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sbs.config.scale import load_scale
from sbs.config.settings import Checkpoint
from sbs.data.fetch import fetch
from sbs.errors import SBSError
from sbs.networks import build_network
from sbs.provenance.files import sha256_of_file
from sbs.runtime.checkpoints import load_into, obtain, read_weights, save_weights
from sbs.stages.finetune import evaluate_file
from tests.conftest import ROOT


class Exploit:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code ran')",)


def test_round_trip(tmp_path: Path) -> None:
    model = build_network("resnet20", 10, 1)
    save_weights(model.state_dict(), tmp_path / "w.safetensors")
    twin = build_network("resnet20", 10, 1)
    load_into(twin, read_weights(tmp_path / "w.safetensors"), "w")
    for name, value in model.state_dict().items():
        assert torch.equal(twin.state_dict()[name], value)


def test_files_that_could_run_code_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.pth"
    torch.save({"w": Exploit()}, path)
    with pytest.raises(SBSError, match=r"bad\.pth: does not contain only weights"):
        read_weights(path)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_truncated_files_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w.{suffix}"
    if suffix == "pth":
        torch.save({"w": torch.zeros(1000)}, path)
    else:
        save_weights({"w": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(SBSError, match=rf"w\.{suffix}.*(damaged|does not contain only weights)"):
        read_weights(path)


def test_weights_of_another_network_are_refused_by_name() -> None:
    state = build_network("resnet32", 10, 1).state_dict()
    with pytest.raises(SBSError, match=r"unexpected tensor 'layer1\.3"):
        load_into(build_network("resnet20", 10, 1), state, "w")
    state = build_network("resnet20", 100, 1).state_dict()
    with pytest.raises(SBSError, match=r"another shape for 'fc\.bias'"):
        load_into(build_network("resnet20", 10, 1), state, "w")
    state = build_network("resnet20", 10, 1).state_dict()
    state["fc.weight"][0, 0] = float("nan")
    with pytest.raises(SBSError, match=r"not finite in 'fc\.weight'"):
        load_into(build_network("resnet20", 10, 1), state, "w")


def test_a_local_copy_is_taken_by_its_digest_and_an_altered_one_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    path = local / "any-name.pth"
    path.write_bytes(b"weights")
    digest = sha256_of_file(path)
    monkeypatch.setenv("SBS_WEIGHTS_DIR", str(local))
    checkpoint = Checkpoint(url="https://example.invalid/w.pth", sha256=(digest[:8],))
    assert obtain(checkpoint, tmp_path) == path
    given = Checkpoint(path=str(path), sha256=("0" * 64,))
    with pytest.raises(SBSError, match=rf"{path}: SHA-256 is {digest}, expected 0000"):
        obtain(given, tmp_path)
    (tmp_path / "w.pth").write_bytes(b"altered")
    path.unlink()
    with pytest.raises(SBSError, match=r"w\.pth: SHA-256 is"):
        obtain(checkpoint, tmp_path)


def test_a_url_needs_a_digest() -> None:
    with pytest.raises(ValueError, match="url needs sha256"):
        Checkpoint(url="https://example.invalid/w.pth")


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("network", "top1", "top5"), [("resnet20", 68.83, 91.01), ("resnet56", 72.63, 91.94)]
)
def test_public_checkpoints_have_their_published_accuracy(
    network: str, top1: float, top5: float, data_dir: Path, weights_dir: Path, tmp_path: Path
) -> None:
    """On all 10,000 test images of CIFAR-100."""
    scale = load_scale(ROOT / "config" / "cifar100-short.yaml")
    weights = obtain(scale.pretrain.checkpoints[network], tmp_path)
    assert weights.parent == weights_dir
    data = tmp_path / "cifar100.safetensors"
    fetch("cifar100", data, data_dir)
    accuracy = evaluate_file(network, data, weights, None)
    assert (round(accuracy.top1, 2), round(accuracy.top5, 2)) == (top1, top5)
