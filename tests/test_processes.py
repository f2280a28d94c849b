"""Jobs of several processes: the same decisions as one process, also after a kill."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from sbs.config.scale import Scale, canonical_json, load_scale, stage_settings
from sbs.data import interface
from sbs.data.fetch import fetch
from sbs.errors import SBSError
from sbs.networks import build_network
from sbs.runtime import processes
from sbs.runtime.checkpoints import save_weights
from sbs.runtime.tensor_files import read_tensors
from sbs.warm.torchrun import replace_by_torchrun
from tests.conftest import ROOT
from tests.test_engine import rounds_done, shortened

SAMPLE = "imagenet-sample"
BIN = Path(sys.executable).parent
SECONDS = 240.0
TWO = [str(BIN / "torchrun"), "--standalone", "--nproc-per-node", "2"]
WORKER = str(ROOT / "tests" / "doubled.py")
EXACT = {"rel": 1e-5, "abs": 1e-7}
"""Accuracy of the losses, which are single precision in a network of double precision."""


def small(scale: Scale) -> Scale:
    """Few images, and one epoch; the last batch has an odd number of images."""
    data = scale.data.model_copy(update={"held_out": 1180})
    haq = scale.haq.model_copy(update={"episodes": 3, "warmup_episodes": 1, "images": 127})
    sensitivity = scale.sensitivity.model_copy(update={"base_epochs": 1, "steps": 1, "images": 130})
    changes = {"data": data, "haq": haq, "sensitivity": sensitivity}
    return shortened(scale, epochs=1).model_copy(update=changes)


class Runs:
    """Stages in double precision, by one process and by two."""

    def __init__(self, scale: Scale, data: Path, folder: Path) -> None:
        self.scale, self.data, self.folder = scale, data, folder

    def run(
        self,
        start: list[str],
        stage: str,
        method: str,
        name: str,
        *inputs: Path,
        network: str = "resnet20",
    ) -> Path:
        """Run a stage, unless it has run already; return the folder of its outputs."""
        out = self.folder / name
        if (out / "record.json").is_file():
            return out
        out.mkdir()
        settings = out / "settings.json"
        own = "" if stage == "pretrain" else method
        settings.write_text(canonical_json(stage_settings(self.scale, stage, {}, own)))
        files = [self.data, *inputs]
        files += [out / "policy.json"] if stage == "search" else []
        files += [out / "weights.safetensors", out / "record.json"]
        words = [WORKER, stage, network, method, str(settings), str(out / "resume")]
        words += map(str, files)
        environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
        subprocess.run([*start, *words], env=environment, check=True, timeout=SECONDS)
        return out


@pytest.fixture(scope="module")
def runs(default_scale: Scale, digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(small(default_scale), digits_file, tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def pretrained(runs: Runs) -> Path:
    return runs.run([sys.executable], "pretrain", "fp", "one")


def record(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "record.json").read_text()))


def assert_alike(one: Path, two: Path) -> None:
    """Equal decisions, and numbers equal up to rounding."""
    first, second = record(one), record(two)
    assert (first["processes"], second["processes"]) == (1, 2)
    for key in ("bops", "top1", "top5", "found", "landing_flips", "open_shares"):
        assert first[key] == second[key], key
    for key in ("history", "trajectory"):
        assert len(first[key]) == len(second[key])
        for ours, theirs in zip(first[key], second[key], strict=True):
            assert list(ours) == list(theirs)
            for name in ours.keys() - {"seconds"}:
                if isinstance(ours[name], float):
                    assert theirs[name] == pytest.approx(ours[name], **EXACT), name
                elif name != "probabilities":
                    assert theirs[name] == ours[name], name
    tensors = [read_tensors(folder / "weights.safetensors", "", "")[1] for folder in (one, two)]
    assert tensors[0].keys() == tensors[1].keys()
    for name, value in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], value, rtol=2e-3, atol=1e-5)


def test_two_processes_train_the_network_of_one(runs: Runs, pretrained: Path) -> None:
    assert_alike(pretrained, runs.run(TWO, "pretrain", "fp", "two"))


@pytest.mark.parametrize("method", ["sbs", "dnas", "dq", "haq", "sensitivity"])
def test_two_processes_decide_as_one(runs: Runs, pretrained: Path, method: str) -> None:
    weights = pretrained / "weights.safetensors"
    one = runs.run([sys.executable], "search", method, f"{method}-one", weights)
    two = runs.run(TWO, "search", method, f"{method}-two", weights)
    assert (one / "policy.json").read_text() == (two / "policy.json").read_text()
    assert_alike(one, two)
    if method == "sbs":
        found = one / "policy.json", one / "weights.safetensors"
        one = runs.run([sys.executable], "finetune", method, "finetune-one", *found)
        assert_alike(one, runs.run(TWO, "finetune", method, "finetune-two", *found))


def test_two_processes_decide_as_one_on_images_of_imagenet(tmp_path: Path) -> None:
    """MobileNetV2, two steps on sixteen image files."""
    if not (Path(os.environ.get("SBS_DATA_DIR", "")) / SAMPLE).is_dir():
        pytest.skip(f"SBS_DATA_DIR names no folder with {SAMPLE}")
    fetch(SAMPLE, tmp_path / "data.safetensors")
    model = build_network("mobilenet_v2", 1000)
    save_weights(model.state_dict(), tmp_path / "weights.safetensors")
    scale = load_scale(ROOT / "config" / "imagenet-sample.yaml")
    changes = {
        "data": scale.data.model_copy(update={"held_out": 984}),
        "search": scale.search.model_copy(update={"batch_size": 8}),
    }
    of_files = Runs(scale.model_copy(update=changes), tmp_path / "data.safetensors", tmp_path)
    one, two = (
        of_files.run(
            *(start, "search", "sbs", name, tmp_path / "weights.safetensors"),
            network="mobilenet_v2",
        )
        for start, name in (([sys.executable], "one"), (TWO, "two"))
    )
    assert (one / "policy.json").read_text() == (two / "policy.json").read_text()
    assert_alike(one, two)


@pytest.mark.parametrize("method", ["sbs", "dnas"])
def test_a_batch_in_parts_is_one_step_of_the_penalty(
    runs: Runs, pretrained: Path, method: str
) -> None:
    runtime = runs.scale.runtime.model_copy(update={"accumulation": 3})
    scale = runs.scale.model_copy(update={"runtime": runtime})
    in_parts = Runs(scale, runs.data, runs.folder)
    weights = pretrained / "weights.safetensors"
    found = record(in_parts.run([sys.executable], "search", method, f"{method}-parts", weights))
    whole = record(runs.run([sys.executable], "search", method, f"{method}-one", weights))
    steps = [[point["iteration"] for point in one["trajectory"]] for one in (found, whole)]
    assert steps[0] == steps[1]
    # The first step is decided by M0 alone; a penalty that moved thrice would be another.
    first = [one["trajectory"][0]["penalty"] for one in (found, whole)]
    assert first[0] == pytest.approx(first[1], rel=1e-3)


def command(scale: Scale, data: Path, pretrained: Path, out: Path) -> list[str]:
    """A search of two processes, in single precision."""
    words = [str(BIN / "sbs"), "search", "--processes", "2"]
    words += ["--network", "resnet20", "--method", "sbs", "--threads", "2"]
    words += ["--settings", canonical_json(stage_settings(scale, "search", {}, "sbs"))]
    words += ["--data", str(data), "--pretrained", str(pretrained / "weights.safetensors")]
    words += ["--policy", str(out / "policy.json"), "--record", str(out / "record.json")]
    return [*words, "--weights", str(out / "weights.safetensors")]


def test_a_killed_process_ends_the_job_which_then_resumes_bit_for_bit(
    runs: Runs, default_scale: Scale, digits_file: Path, pretrained: Path, tmp_path: Path
) -> None:
    scale = shortened(default_scale, epochs=4)
    scale = scale.model_copy(update={"data": small(default_scale).data})
    whole = command(scale, digits_file, pretrained, tmp_path / "whole")
    subprocess.run(whole, check=True, timeout=SECONDS)

    killed = command(scale, digits_file, pretrained, tmp_path / "killed")
    job = subprocess.Popen(killed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + SECONDS
    while not rounds_done(tmp_path / "killed" / "resume"):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(random.random() / 2)
    victim = random.choice(psutil.Process(job.pid).children())
    victim.send_signal(signal.SIGKILL)
    assert job.wait(SECONDS) != 0, f"the job went on without {victim}"
    assert not (tmp_path / "killed" / "record.json").exists()

    subprocess.run(killed, check=True, timeout=SECONDS)
    assert record(tmp_path / "killed")["interruptions"] == 1
    assert not (tmp_path / "killed" / "resume").exists()
    for name in ("policy.json", "weights.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()


@pytest.mark.parametrize(("images", "size"), [(10, 4), (12, 4), (7, 7), (3, 8)])
def test_shares_of_a_batch_are_all_of_it(
    monkeypatch: pytest.MonkeyPatch, images: int, size: int
) -> None:
    whole = [set(range(images)[part]) for part in interface.batch_places(images, size)]
    monkeypatch.setattr(processes, "count", lambda: 2)
    found = []
    for rank in (0, 1):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        found.append([set(range(images)[part]) for part in interface.batch_places(images, size)])
    assert [one | two for one, two in zip(*found, strict=True)] == whole
    assert not any(one & two for one, two in zip(*found, strict=True))


def test_a_batch_without_an_image_for_each_process_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Nothing(interface.TrainingBatches):
        def epoch(self, epoch: int) -> Any:
            raise NotImplementedError

    Nothing(9, 4)
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(SBSError, match="batch_size: 4 leaves 1 of 9 images for an epoch's last"):
        Nothing(9, 4)
    with pytest.raises(SBSError, match="batch_size: 4 leaves 1 of 5"):
        Nothing(8, 4).part(torch.arange(5))


@pytest.mark.parametrize(
    ("words", "started"),
    [
        (["--processes", "2"], "2"),
        (["--processes=3", "--seed", "1"], "3"),
        (["--processes", "1"], None),
        (["--processes", "many"], None),
        (["--processes"], None),
        ([], None),
    ],
)
def test_a_command_for_several_processes_becomes_torchrun(
    monkeypatch: pytest.MonkeyPatch, words: list[str], started: str | None
) -> None:
    found: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: found.append(command))
    replace_by_torchrun(["sbs", "search", *words])
    if started is None:
        assert not found
        return
    (command,) = found
    assert command[command.index("--nproc-per-node") + 1] == started
    assert command[-len(words) - 2 :] == ["sbs", "search", *words]
    # The processes that torchrun starts are the command itself.
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    replace_by_torchrun(["sbs", "search", *words])
    assert len(found) == 1
