"""From files to files: what each stage writes about its outputs, and what it refuses to read."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import pytest

from sbs.cli import main
from sbs.config.scale import Scale, canonical_json, stage_settings
from sbs.provenance.files import sha256_of_file
from sbs.provenance.records import RunRecord

WEIGHTS = "weights.safetensors"
STAGES = ("pretrain", "search", "finetune")


class Chain:
    """Pretraining, search and fine-tuning without an epoch, and what reads their outputs."""

    def __init__(self, scale: Scale, data: Path, folder: Path) -> None:
        changes = {n: getattr(scale, n).model_copy(update={"epochs": 0}) for n in STAGES}
        self.scale, self.data, self.folder = scale.model_copy(update=changes), data, folder

    def words(self, command: str) -> list[str]:
        """The command line of a stage, or of a command that reads what stages wrote."""
        pretrained, policy = self.folder / "pretrain" / WEIGHTS, self.folder / "search/policy.json"
        searched, final = self.folder / "search" / WEIGHTS, self.folder / "finetune" / WEIGHTS
        network = ["--network", "resnet20", "--data", str(self.data)]
        if command == "export":
            return [*("--policy", str(policy)), *("--weights", str(final)), *self.output("out")]
        if command == "evaluate":
            return [*network, *("--weights", str(final)), *("--policy", str(policy))]
        settings = canonical_json(stage_settings(self.scale, command, {}, "fixed4"))
        out = self.folder / command
        stage = [*network, *("--settings", settings), *("--weights", str(out / WEIGHTS))]
        stage += ["--record", str(out / ("search.json" if command == "search" else "metrics.json"))]
        if command == "pretrain":
            return stage
        start = ["--pretrained", str(pretrained)]
        if command == "finetune":
            start = ["--start", str(searched)]
        return [*stage, *start, *("--method", "fixed4"), *("--policy", str(policy))]

    def output(self, name: str) -> list[str]:
        return ["--output", str(self.folder / f"{name}.safetensors")]

    def run(self, command: str, monkeypatch: pytest.MonkeyPatch) -> int:
        """Exit status of a command."""
        monkeypatch.setattr(sys, "argv", ["sbs", command, *self.words(command)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def finished(
    default_scale: Scale, few_digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> Chain:
    """All three stages have run."""
    chain = Chain(default_scale, few_digits, tmp_path_factory.mktemp("chain"))
    with pytest.MonkeyPatch.context() as patch:
        for stage in STAGES:
            assert chain.run(stage, patch) == 0
    return chain


@pytest.fixture
def chain(finished: Chain, tmp_path: Path) -> Chain:
    """A copy that a test can damage."""
    folder = shutil.copytree(finished.folder, tmp_path / "chain")
    return Chain(finished.scale, finished.data, folder)


def test_records_list_the_digests_of_their_outputs(finished: Chain) -> None:
    for stage, names in (
        ("pretrain", {WEIGHTS}),
        ("search", {WEIGHTS, "policy.json"}),
        ("finetune", {WEIGHTS}),
    ):
        folder = finished.folder / stage
        record = RunRecord.load(next(iter({*folder.glob("*.json")} - {folder / "policy.json"})))
        assert record.outputs == {name: sha256_of_file(folder / name) for name in names}


@pytest.mark.parametrize(
    ("command", "damaged"),
    [
        ("search", f"pretrain/{WEIGHTS}"),
        ("finetune", f"search/{WEIGHTS}"),
        ("finetune", "search/policy.json"),
        ("evaluate", f"finetune/{WEIGHTS}"),
        ("evaluate", "search/policy.json"),
        ("export", f"finetune/{WEIGHTS}"),
        ("export", "search/policy.json"),
    ],
)
def test_no_command_reads_a_damaged_file(
    chain: Chain,
    command: str,
    damaged: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, rng = chain.folder / damaged, random.Random(0)
    content = path.read_bytes()
    for _ in range(5):
        place = rng.randrange(len(content))
        flipped = content[place] ^ (1 << rng.randrange(8))
        path.write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
        capsys.readouterr()
        assert chain.run(command, monkeypatch) == 1
        line = capsys.readouterr().err.strip()
        assert line.startswith(f"sbs: {path}: ")
        assert "again" in line
        assert "\n" not in line
    path.write_bytes(content)
    assert chain.run(command, monkeypatch) == 0


@pytest.mark.parametrize(
    ("command", "option", "missing"),
    [
        ("search", "--pretrained", f"pretrain/{WEIGHTS}"),
        ("finetune", "--start", f"search/{WEIGHTS}"),
        ("finetune", "--policy", "search/policy.json"),
        ("evaluate", "--weights", f"finetune/{WEIGHTS}"),
        ("evaluate", "--policy", "search/policy.json"),
        ("export", "--weights", f"finetune/{WEIGHTS}"),
        ("export", "--policy", "search/policy.json"),
    ],
)
def test_a_missing_file_is_named_with_its_option(
    chain: Chain,
    command: str,
    option: str,
    missing: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = chain.folder / missing
    path.unlink()
    capsys.readouterr()
    assert chain.run(command, monkeypatch) == 1
    line = capsys.readouterr().err.strip()
    assert line.startswith(f"sbs: {option} {path}: no such file; correct the path, or make it with")
    assert "\n" not in line
