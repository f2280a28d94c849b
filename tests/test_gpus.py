"""Jobs beside each other on a machine with several GPUs: each claims GPUs of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sbs.warm import gpus

HOLD = """
import os, sys
from sbs.warm.gpus import VISIBLE, claim_gpus
claim_gpus(sys.argv[1:])
print(os.environ.get(VISIBLE), flush=True)
os.execvp("cat", ["cat"])  # as torchrun replaces the command; cat ends with its input
"""


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with four GPUs, and lock files of its own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv(gpus.VISIBLE, "0,1,2,GPU-5a/b")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)


@contextmanager
def job(*words: str) -> Iterator[str]:
    """A job that has claimed its GPUs and works on; yields the GPUs it sees."""
    command = [sys.executable, "-c", HOLD, "sbs", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        yield it.stdout.readline().strip()


def test_jobs_beside_each_other_have_gpus_of_their_own() -> None:
    with job("search") as first, job("finetune", "--processes=2") as second:
        assert (first, second) == ("0", "1,2")
        with job("pretrain") as third:
            assert third == "GPU-5a/b"


def test_a_gpu_is_free_again_when_its_job_ends() -> None:
    for _ in range(2):
        with job("search", "--processes", "3") as found:
            assert found == "0,1,2"


def test_without_enough_free_gpus_jobs_share() -> None:
    with job("search", "--processes", "3"):
        with job("search", "--processes", "2") as others:
            assert others == "0,1,2,GPU-5a/b"
        with job("search") as last:
            assert last == "GPU-5a/b"


@pytest.mark.parametrize(
    ("visible", "words"),
    [("0,1", ["collect", "a.json"]), ("0,1", []), ("3", ["search"]), ("", ["search"])],
)
def test_only_a_job_that_trains_claims_one_of_several(visible: str, words: list[str]) -> None:
    os.environ[gpus.VISIBLE] = visible
    with job(*words) as found:
        assert found == visible


def test_a_process_of_torchrun_keeps_what_its_job_has_claimed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert gpus.claim_gpus(["sbs", "search"]) == []


def test_the_gpus_of_a_machine_are_its_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(gpus.VISIBLE)
    monkeypatch.setattr(gpus, "DEVICES", tmp_path)
    for name in ("nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert gpus.visible_gpus() == ["0", "1"]
