"""The allocator keeps what a step frees: who asks for it, where, and what it does."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import Any

import pytest

from benchmarks import __main__ as benchmarks
from sbs import cli
from sbs.runtime import allocator
from tests.conftest import ROOT

STEPS = """
import resource, sys
import numpy as np
from sbs.runtime.allocator import keep_freed_memory
kept = sys.argv[1] == "kept"
assert not kept or keep_freed_memory()
assert "torch" not in sys.modules
def step():
    buffers = [np.ones(1 << 21) for _ in range(8)]
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10)
"""


def faults(how: str) -> float:
    """Page faults a step, each of which fills eight buffers of 16 MiB and frees them."""
    command = [sys.executable, "-c", STEPS, how]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return float(done.stdout)


@pytest.mark.skipif(not allocator.has_glibc(), reason="needs glibc")
def test_a_step_finds_the_memory_of_the_one_before() -> None:
    assert faults("default") > 1000
    assert faults("kept") < 100


@pytest.mark.parametrize("module", [cli, benchmarks])
def test_both_entries_ask_for_it_before_anything_else(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(allocator, "keep_freed_memory", lambda: calls.append("allocator"))
    monkeypatch.setattr(module, "app", lambda: calls.append("app"))
    module.main()
    assert calls == ["allocator", "app"]


@pytest.mark.parametrize("answer", ["musl 1.2", None, ValueError("unknown name")])
def test_another_c_library_is_left_alone(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def confstr(_: str) -> str | None:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(os, "confstr", confstr)
    monkeypatch.setattr(ctypes, "CDLL", None)
    assert not allocator.keep_freed_memory()
