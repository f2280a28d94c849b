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
from torch.distributed.run import parse_args

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
SECONDS = 600.0
ONE = [sys.executable]
TWO = [str(BIN / "torchrun"), "--standalone", "--nproc-per-node", "2"]
WORKER = str(ROOT / "tests" / "doubled.py")
METHODS = ("sbs", "dnas", "dq", "haq", "sensitivity")
IN_PARTS = ("sbs", "dnas")
EXACT = {"rel": 1e-5, "abs": 1e-7}
"""Accuracy of the losses, which are single precision in a network of double precision."""

# Of the runs that the tests share, each worker would make its own.
pytestmark = pytest.mark.xdist_group("processes")


def small(scale: Scale) -> Scale:
    """One epoch; the last batch has an odd number of images."""
    short = shortened(scale, epochs=1)
    haq = short.haq.model_copy(update={"episodes": 3, "warmup_episodes": 1, "images": 127})
    sensitivity = short.sensitivity.model_copy(update={"images": 130})
    return short.model_copy(update={"haq": haq, "sensitivity": sensitivity})


class Runs:
    """Stages in double precision, each with a folder of its own."""

    def __init__(self, scale: Scale, data: Path, folder: Path, network: str = "resnet20") -> None:
        self.scale, self.data, self.folder, self.network = scale, data, folder, network
        self._waiting: list[list[str]] = []

    def add(self, stage: str, method: str, name: str, *inputs: Path, **runtime: Any) -> Path:
        """Let the next job run a stage; return the folder of its outputs."""
        out = self.folder / name
        out.mkdir()
        scale = self.scale.model_copy(
            update={"runtime": self.scale.runtime.model_copy(update=runtime)}
        )
        settings = out / "settings.json"
        own = "" if stage == "pretrain" else method
        settings.write_text(canonical_json(stage_settings(scale, stage, {}, own)))
        files = [self.data, *inputs]
        files += [out / "policy.json"] if stage == "search" else []
        files += [out / "weights.safetensors", out / "record.json"]
        words = [stage, self.network, method, str(settings), str(out / "resume")]
        self._waiting.append([*words, *map(str, files)])
        return out

    def run(self, start: list[str]) -> None:
        """A job that runs what waits: its processes need seconds to start."""
        environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
        words = [*start, WORKER, json.dumps(self._waiting)]
        subprocess.run(words, env=environment, check=True, timeout=SECONDS)
        self._waiting = []


@pytest.fixture(scope="module")
def runs(default_scale: Scale, few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every stage and method by one process and by two; the second start where the first do."""
    every = Runs(small(default_scale), few_digits, tmp_path_factory.mktemp("processes"))
    weights = every.folder / "pretrain-one" / "weights.safetensors"
    found = every.folder / "sbs-one"
    for start, count in ((ONE, "one"), (TWO, "two")):
        every.add("pretrain", "fp", f"pretrain-{count}")
        for method in METHODS:
            every.add("search", method, f"{method}-{count}", weights)
        start_of = found / "policy.json", found / "weights.safetensors"
        every.add("finetune", "sbs", f"finetune-{count}", *start_of)
        for method in IN_PARTS if start is ONE else ():
            every.add("search", method, f"{method}-parts", weights, accumulation=3)
        every.run(start)
    return every.folder


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


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_two_processes_train_the_network_of_one(runs: Path, stage: str) -> None:
    assert_alike(runs / f"{stage}-one", runs / f"{stage}-two")


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_decide_as_one(runs: Path, method: str) -> None:
    one, two = runs / f"{method}-one", runs / f"{method}-two"
    assert (one / "policy.json").read_text() == (two / "policy.json").read_text()
    assert_alike(one, two)


def test_two_processes_decide_as_one_on_images_of_imagenet(tmp_path: Path) -> None:
    """MobileNetV2, two steps on sixteen image files."""
    if not (Path(os.environ.get("SBS_DATA_DIR", "")) / SAMPLE).is_dir():
        pytest.skip(f"SBS_DATA_DIR names no folder with {SAMPLE}")
    data, weights = tmp_path / "data.safetensors", tmp_path / "weights.safetensors"
    fetch(SAMPLE, data)
    model = build_network("mobilenet_v2", 1000)
    save_weights(model.state_dict(), weights)
    scale = load_scale(ROOT / "config" / "imagenet-sample.yaml")
    changes = {
        "data": scale.data.model_copy(update={"held_out": 984}),
        "search": scale.search.model_copy(update={"batch_size": 8}),
    }
    of_files = Runs(scale.model_copy(update=changes), data, tmp_path, "mobilenet_v2")
    one = of_files.add("search", "sbs", "one", weights)
    of_files.run(ONE)
    two = of_files.add("search", "sbs", "two", weights)
    of_files.run(TWO)
    assert (one / "policy.json").read_text() == (two / "policy.json").read_text()
    assert_alike(one, two)


@pytest.mark.parametrize("method", IN_PARTS)
def test_a_batch_in_parts_is_one_step_of_the_penalty(runs: Path, method: str) -> None:
    found, whole = record(runs / f"{method}-parts"), record(runs / f"{method}-one")
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
    default_scale: Scale, digits_file: Path, runs: Path, tmp_path: Path
) -> None:
    scale = shortened(default_scale, epochs=4)
    # Few steps, and many images at their end: the job still runs when it is killed.
    data = scale.data.model_copy(update={"held_out": 1180})
    scale = scale.model_copy(update={"data": data})
    pretrained = runs / "pretrain-one"
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
        (["--start", "x", "--processes", "2"], "2"),  # torchrun knows --start-method
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
    parsed = parse_args(command[command.index("torch.distributed.run") + 1 :])
    assert [parsed.training_script, *parsed.training_script_args] == ["sbs", "search", *words]
    # The processes that torchrun starts are the command itself.
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    replace_by_torchrun(["sbs", "search", *words])
    assert len(found) == 1
