"""Commands in forks of a process that has imported everything."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from sbs.config.scale import Scale, canonical_json, stage_settings
from sbs.warm import protocol
from sbs.warm import server as server_module
from tests.conftest import ROOT
from tests.test_engine import shortened

SBS = str(Path(sys.executable).parent / "sbs")
SECONDS = 60.0


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, psutil.Process]]:
    path = tmp_path_factory.mktemp("server") / "socket"
    process = subprocess.Popen([SBS, "serve", str(path), str(os.getpid())])
    wait_for(path.exists)
    yield path, psutil.Process(process.pid)
    process.kill()
    process.wait()


def environment(path: Path) -> dict[str, str]:
    return dict(os.environ) | {protocol.VARIABLE: str(path), "OMP_NUM_THREADS": "1"}


def forks(server: psutil.Process) -> list[psutil.Process]:
    return [child for child in server.children() if child.status() != psutil.STATUS_ZOMBIE]


def test_a_command_says_and_does_the_same_as_by_itself(
    server: tuple[Path, psutil.Process], tmp_path: Path
) -> None:
    words = [SBS, "cost", "resnet20", "--bits", "4"]
    there = subprocess.run(
        words, env=environment(server[0]), cwd=tmp_path, capture_output=True, check=True
    )
    here = subprocess.run(words, cwd=tmp_path, capture_output=True, check=True)
    assert there.stdout == here.stdout
    assert b"674.64 M BOPs" in there.stdout
    # Paths are relative to the folder of the client.
    words = [SBS, "fetch", "digits", "--output", "digits.safetensors"]
    subprocess.run(words, env=environment(server[0]), cwd=tmp_path, check=True)
    assert (tmp_path / "digits.safetensors").is_file()


def test_a_mistake_has_its_message_and_status(server: tuple[Path, psutil.Process]) -> None:
    for words, status, message in (
        (["cost", "resnet21"], 1, "sbs: unknown network 'resnet21'"),
        (["cost"], 2, "Usage: sbs cost"),
    ):
        done = subprocess.run(
            [SBS, *words], env=environment(server[0]), capture_output=True, text=True
        )
        assert done.returncode == status
        assert message in done.stderr


@pytest.fixture
def training(
    server: tuple[Path, psutil.Process], default_scale: Scale, digits_file: Path, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A pretraining that would take minutes, and the fork that does it."""
    path, process = server
    settings = stage_settings(shortened(default_scale, epochs=500), "pretrain", {})
    words = [SBS, "pretrain", "--network", "resnet20", "--data", str(digits_file)]
    words += ["--settings", canonical_json(settings), "--record", str(tmp_path / "record.json")]
    words += ["--weights", str(tmp_path / "weights.safetensors")]
    client = subprocess.Popen(words, env=environment(path), stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any((tmp_path / "resume").glob("state-*")))
    [fork] = forks(process)
    yield client, fork
    client.kill()
    client.communicate()


def test_a_killed_command_takes_its_fork_along(
    training: tuple[subprocess.Popen[str], psutil.Process],
) -> None:
    client, fork = training
    client.kill()
    wait_for(lambda: not fork.is_running())


def test_a_command_whose_fork_dies_has_failed(
    training: tuple[subprocess.Popen[str], psutil.Process],
) -> None:
    client, fork = training
    fork.send_signal(signal.SIGKILL)
    _, said = client.communicate(timeout=SECONDS)
    assert client.returncode == 1
    assert "the process of this command died" in said


@pytest.mark.parametrize("program", [["/other/python"], [*protocol.program(), "/another/path"]])
def test_another_program_is_refused(
    server: tuple[Path, psutil.Process], program: list[str]
) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server[0]))
        protocol.send(connection, protocol.Request(["sbs"], str(ROOT), {}, program))
        assert connection.recv(1) == bytes([protocol.REFUSED])


def test_an_edited_program_is_refused() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        protocol.send(ours, protocol.Request(["sbs"], str(ROOT), {}, protocol.program()))
        edited = {path: (date, size + 1) for path, (date, size) in server_module._sources().items()}
        assert server_module._handled(theirs, edited, sys.exit) == protocol.REFUSED


def test_without_a_server_a_command_runs_by_itself(tmp_path: Path) -> None:
    words = [SBS, "cost", "resnet20", "--bits", "4"]
    done = subprocess.run(words, env=environment(tmp_path / "none"), capture_output=True)
    assert b"674.64 M BOPs" in done.stdout


STARTER = """
import os, sys, time
from sbs.warm import protocol
from sbs.warm.start import start
start()
print(os.environ[protocol.VARIABLE], flush=True)
time.sleep(float(sys.argv[1]))
"""


@contextmanager
def started_workflow(seconds: float) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A workflow of this length, and the path of its server's socket."""
    environment = dict(os.environ) | {"PATH": f"{Path(SBS).parent}:{os.environ['PATH']}"}
    workflow = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(seconds)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert workflow.stdout is not None
    yield workflow, Path(workflow.stdout.readline().strip())
    workflow.kill()
    workflow.communicate()


def test_the_server_ends_with_a_workflow_that_ends_before_it_is_ready() -> None:
    """It once stayed for ever, and with it the pipe of the workflow's messages."""
    with started_workflow(0) as (workflow, path):
        workflow.wait(SECONDS)
        wait_for(lambda: not path.parent.exists())


def test_the_server_ends_with_the_workflow() -> None:
    with started_workflow(600) as (_, path):
        wait_for(path.exists)
        assert path.parent.stat().st_mode & 0o077 == 0, "others could run commands"
    wait_for(lambda: not path.parent.exists())


def test_the_workflow_has_one_onstart() -> None:
    """Snakemake runs the last one alone; a second one once kept the server from starting."""
    files = [ROOT / "workflow" / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]
    assert sum(path.read_text().count("\nonstart:") for path in files) == 1
