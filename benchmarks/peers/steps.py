"""Time of a training step in each tool, in turns, over that of a plain step."""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks.measure import alternate
from benchmarks.peers.runner import reason_of
from benchmarks.peers.start import Start
from benchmarks.peers.tool import TimedTask, Tool
from benchmarks.steps import BATCH, Step
from sbs.provenance.files import atomic_write_text

PLAIN = "plain"
FILE = "steps.json"


def measure(tools: dict[str, Tool], start: Start, repeats: int, folder: Path) -> None:
    """Time the steps and write them: ``seconds`` by name, and what could not be set up.

    Args:
        tools: the tools.
        start: where all tools start.
        repeats: timed steps of each.
        folder: where the file goes.
    """
    steps: dict[str, Step] = {}
    missing: dict[str, str] = {}
    for tool in tools.values():
        try:
            steps |= {name: _step(timed, start) for name, timed in tool.steps(start).items()}
        except Exception as error:  # a tool that breaks is a result
            missing[tool.label] = reason_of(error)
    # Of one thread: processor time, which other work on the machine hardly changes.
    seconds = alternate(steps, repeats, clock=time.process_time)
    content = {"seconds": seconds, "missing": missing, "threads": torch.get_num_threads()}
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write_text(folder / FILE, json.dumps(content, indent=1) + "\n")


def ratios(seconds: dict[str, list[float]]) -> dict[str, tuple[float, float]]:
    """Name -> median seconds, and the median over rounds of the ratio to the plain step."""
    plain = seconds.get(PLAIN, [])
    return {
        name: (median(values), median(a / b for a, b in zip(values, plain, strict=True)))
        for name, values in seconds.items()
    }


def _step(timed: TimedTask, start: Start) -> Step:
    layout = torch.channels_last if timed.channels_last else torch.contiguous_format
    timed.task.model.to(memory_format=layout)
    images, labels = next(start.batches(BATCH, channels_last=timed.channels_last).epoch(0))
    return Step(timed.task, images, labels)
