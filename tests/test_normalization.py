"""The normalisation of a checkpoint goes with its weights, through every stage and the export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

from sbs.config.scale import Scale, load_scale, stage_settings
from sbs.config.settings import Normalization
from sbs.data.batches import EvalBatches
from sbs.data.dataset_files import load_dataset
from sbs.data.images import Dataset, ImageSet, make_dataset
from sbs.errors import SBSError
from sbs.export.packed import load as load_export
from sbs.networks import build_network
from sbs.provenance.records import RunRecord
from sbs.runtime.checkpoints import load_into, read_normalization, read_weights, save_weights
from sbs.stages import export, finetune, pretrain, search
from sbs.stages.finetune import evaluate_file
from sbs.stages.stage_run import Job
from sbs.training.evaluation import Accuracy, evaluate
from tests.conftest import ROOT

CPU = torch.device("cpu")
OWN = {"mean": [0.1], "std": [0.9]}
WEIGHTS = "weights.safetensors"


@pytest.fixture(scope="module")
def public(
    tmp_path_factory: pytest.TempPathFactory, default_scale: Scale, digits_file: Path
) -> Path:
    """A trained network as others publish one: a PyTorch file with nothing but tensors."""
    folder = tmp_path_factory.mktemp("public")
    run_pretrain(default_scale, folder, digits_file, epochs=2)
    torch.save(read_weights(folder / "pretrain" / WEIGHTS), folder / "public.pth")
    return folder / "public.pth"


def job(scale: Scale, stage: str, folder: Path, **changes: Any) -> Job:
    settings = stage_settings(scale, stage, {}, "fixed8")
    settings[stage] |= changes
    method = "fp" if stage == "pretrain" else "fixed8"
    return Job("resnet20", method, "default", 0, "test", folder / stage / "resume", settings)


def run_pretrain(scale: Scale, folder: Path, data: Path, **changes: Any) -> RunRecord:
    out = folder / "pretrain"
    stage = job(scale, "pretrain", folder, **changes)
    pretrain.run(stage, data, out / WEIGHTS, out / "metrics.json", folder)
    return RunRecord.load(out / "metrics.json")


def from_checkpoint(scale: Scale, folder: Path, data: Path, **checkpoint: Any) -> RunRecord:
    return run_pretrain(scale, folder, data, checkpoints={"resnet20": checkpoint})


def measured(model: nn.Module, data: Path, normalization: dict[str, list[float]]) -> Accuracy:
    """Accuracy on images that are normalised here, in double precision."""
    test = load_dataset(data).test
    mean, std = (torch.tensor(normalization[k], dtype=torch.float64) for k in ("mean", "std"))
    pixels = test.images.double() / 255
    images = ((pixels - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)).float()
    return evaluate(model, [(images, test.labels)], CPU)


def test_every_stage_uses_the_normalization_of_the_checkpoint(
    default_scale: Scale, digits_file: Path, public: Path, tmp_path: Path
) -> None:
    plain = build_network("resnet20", 10, 1)
    load_into(plain, read_weights(public), "public")
    expected = measured(plain, digits_file, OWN)
    data, scale = digits_file, default_scale

    default = from_checkpoint(scale, tmp_path / "default", data, path=str(public))
    record = from_checkpoint(scale, tmp_path, data, path=str(public), normalization=OWN)
    assert (record.top1, record.top5) == (expected.top1, expected.top5)
    assert default.top1 != record.top1
    pretrained = tmp_path / "pretrain" / WEIGHTS
    assert evaluate_file("resnet20", data, pretrained, None) == expected

    searched, policy = tmp_path / "search" / WEIGHTS, tmp_path / "search" / "policy.json"
    stage = job(scale, "search", tmp_path)
    search.run(stage, data, pretrained, policy, searched, tmp_path / "search" / "search.json")
    final, packed = tmp_path / "finetune" / WEIGHTS, tmp_path / "packed.safetensors"
    metrics = tmp_path / "finetune" / "metrics.json"
    finetune.run(job(scale, "finetune", tmp_path, epochs=1), data, policy, searched, final, metrics)
    export.run(policy, final, packed)

    expected = measured(load_export(packed), data, OWN)
    assert RunRecord.load(metrics).top1 == expected.top1
    assert evaluate_file("resnet20", data, final, policy) == expected
    assert evaluate_file("resnet20", data, packed, None) == expected
    for path in (pretrained, searched, final, packed):
        assert read_normalization(path) == Normalization.model_validate(OWN)
    for path in (metrics, tmp_path / "search" / "search.json", tmp_path / "pretrain/metrics.json"):
        assert json.loads(path.read_text())["normalization"] == OWN


def test_without_the_key_it_is_the_datasets_own(
    default_scale: Scale, digits_file: Path, public: Path, tmp_path: Path
) -> None:
    record = from_checkpoint(default_scale, tmp_path, digits_file, path=str(public))
    digits = load_dataset(digits_file)
    assert record.normalization == {"mean": digits.mean, "std": digits.std}
    kept = read_normalization(tmp_path / "pretrain" / WEIGHTS)
    assert kept is not None
    assert (kept.mean, kept.std) == (digits.mean, digits.std)


def test_a_file_of_ours_as_a_checkpoint_keeps_its_normalization(
    default_scale: Scale, digits_file: Path, public: Path, tmp_path: Path
) -> None:
    path = tmp_path / "ours.safetensors"
    save_weights(read_weights(public), path, Normalization.model_validate(OWN))
    record = from_checkpoint(default_scale, tmp_path, digits_file, path=str(path))
    assert record.normalization == {"mean": (0.1,), "std": (0.9,)}


def test_channels_are_those_of_the_dataset(
    default_scale: Scale, digits_file: Path, public: Path, tmp_path: Path
) -> None:
    three = {"mean": [0.5] * 3, "std": [0.2] * 3}
    key = r"pretrain\.checkpoints\.resnet20\.normalization"
    with pytest.raises(SBSError, match=f"{key}: 3 channels, but images of digits have 1"):
        from_checkpoint(default_scale, tmp_path, digits_file, path=str(public), normalization=three)


@pytest.mark.parametrize(
    ("normalization", "message"),
    [
        ({"mean": [0.5], "std": [0.0]}, r"normalization\.std\.0: Input should be greater than 0"),
        ({"mean": [0.5], "std": [".inf"]}, r"normalization\.std\.0: Input should be a finite"),
        ({"mean": [".nan"], "std": [1.0]}, r"normalization\.mean\.0: Input should be a finite"),
        ({"mean": [0.5, 0.5], "std": [1.0]}, "normalization: mean has 2 numbers and std 1"),
        ({"mean": [], "std": []}, r"normalization\.mean"),
        ({"mean": [0.5]}, r"normalization\.std: missing key"),
        ({"mean": [0.5], "std": [1.0], "var": [1.0]}, r"normalization\.var: unknown key"),
    ],
)
def test_impossible_values_are_refused_by_key(
    tmp_path: Path, normalization: dict[str, list[Any]], message: str
) -> None:
    text = (ROOT / "config" / "config.yaml").read_text()
    entry = f"{{resnet20: {{path: w.pth, normalization: {json.dumps(normalization)}}}}}"
    entry = entry.replace('"', "")
    path = tmp_path / "scale.yaml"
    assert "checkpoints: {}" in text
    path.write_text(text.replace("checkpoints: {}", f"checkpoints: {entry}"))
    with pytest.raises(SBSError, match=rf"pretrain\.checkpoints\.resnet20\.{message}"):
        load_scale(path)


def colours() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (6, 3, 4, 4), generator=generator, dtype=torch.uint8)
    part = ImageSet(pixels, torch.arange(6))
    return make_dataset("colours", part, part, classes=6)


def test_a_dataset_normalizes_each_channel_as_it_is_told() -> None:
    dataset = colours()
    own = Normalization(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    given = dataset.normalized_by(own, "test")
    assert given.normalization == own
    assert given.digest == dataset.digest
    images = next(iter(EvalBatches(given, device=CPU)))[0]
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (own.mean, own.std))
    want = (dataset.test.images / 255 - mean) / std
    torch.testing.assert_close(images, want, atol=2e-6, rtol=0.0)


def test_it_is_in_the_header_of_the_file(tmp_path: Path) -> None:
    """Readable with safetensors alone."""
    path = tmp_path / WEIGHTS
    save_weights({"a": torch.ones(1)}, path, Normalization.model_validate(OWN))
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["facts"])["normalization"] == OWN
