"""Time of steps, measured in turns, and their memory, each in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median

import torch

from benchmarks.steps import CPU, VARIANTS, Network, make_step
from sbs.runtime.device import peak_memory_bytes


def alternate(
    steps: Mapping[str, Callable[[], None]],
    repeats: int,
    warmup: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each step. Steps alternate, so that other load on the machine affects all."""
    for step in steps.values():
        for _ in range(warmup):
            step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            step()  # fills the caches with the data of this step
            started = clock()
            step()
            seconds[name].append(clock() - started)
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """Median seconds of each step."""
    return {name: median(values) for name, values in seconds.items()}


def peak_memory(variant: str, network: Network, precision: str, threads: int) -> dict[str, float]:
    """Peak memory of a process in MiB: before the first step, and with the steps."""
    command = [sys.executable, "-m", "benchmarks", "memory", variant]
    command += [str(network.depth), str(network.width), precision, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def print_peak_memory(variant: str, network: Network, precision: str, threads: int) -> None:
    """Print the JSON that :func:`peak_memory` reads."""
    torch.set_num_threads(threads)
    step = make_step(VARIANTS[variant], network, precision)
    before = peak_memory_bytes(CPU) / 2**20
    for _ in range(4):
        step()
    print(json.dumps({"idle": before, "peak": peak_memory_bytes(CPU) / 2**20}))


def seconds_in_a_process(variant: str, network: Network, threads: int) -> float:
    """Median seconds of a step, measured in its own process."""
    command = [sys.executable, "-m", "benchmarks", "steps", variant]
    command += [str(network.depth), str(threads), "15"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])
