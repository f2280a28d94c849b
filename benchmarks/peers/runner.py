"""Run one tool for one target, and write its record, whatever happens."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.peers.meter import Meter
from benchmarks.peers.records import Record, surroundings
from benchmarks.peers.start import Start
from benchmarks.peers.tool import CannotError, Found, Job, Tool

LONGEST_REASON = 300
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def run(tool: Tool, level: int, start: Start, folder: Path) -> Record:
    """Compress, export, evaluate once; return the record, which is also on the disk.

    Args:
        tool: the tool.
        level: bits of the uniform network whose bit operations are asked for.
        start: where all tools start.
        folder: where records and states go.
    """
    states = folder / "states" / f"{tool.name}-{level}bit-{start.epochs}epochs"
    job = Job(start, level, Meter(states / "meter.json"), states)
    asked: dict[str, Any] = {
        "tool": tool.name,
        "level": level,
        "asked": job.target,
        "epochs": start.epochs,
        **surroundings(tool),
    }
    try:
        record = Record(**asked, outcome="network", **_measured(tool.compress(job), job))
    except CannotError as error:
        record = Record(**asked, outcome="cannot", reason=str(error))
    except Exception as error:  # a tool that breaks is a result
        traceback.print_exc()
        record = Record(**asked, outcome="failed", reason=reason_of(error))
    record.save(folder)
    return record


def reason_of(error: Exception) -> str:
    """Kind and first line of an error, without colours."""
    first = COLOURS.sub("", str(error)).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first[:LONGEST_REASON]}"


def _measured(found: Found, job: Job) -> dict[str, Any]:
    start, policy, meter = job.start, found.policy, job.meter
    # Before the evaluation: its tensors could not be exported any more.
    exports, unexported = _exported(found)
    return {
        "bits": {
            name: (layer.weight_bits, layer.activation_bits)
            for name, layer in policy.layers.items()
        },
        "filters": {
            name: len(layer.kept) for name, layer in policy.layers.items() if layer.kept is not None
        },
        "bops": start.cost(policy, "bops"),
        "own_bops": found.own_cost,
        "memory": start.cost(policy, "memory"),
        "weights": start.weight_bytes(policy),
        "search_hours": meter.hours("search"),
        "training_hours": meter.hours("training"),
        "steps": meter.steps(),
        "exports": exports,
        "unexported": unexported,
        "notes": found.notes,
        "top1": start.top1(found.model, channels_last=found.channels_last),
    }


def _exported(found: Found) -> tuple[dict[str, int], dict[str, str]]:
    """Bytes of each format, and why others could not be written."""
    sizes, reasons = {}, {}
    for name, write in found.exports.items():
        try:
            sizes[name] = written_bytes(write)
        except Exception as error:  # a tool that breaks is a result
            traceback.print_exc()
            reasons[name] = reason_of(error)
    return sizes, reasons


def written_bytes(write: Callable[[Path], object]) -> int:
    """Bytes of all that a function writes into an empty folder."""
    with TemporaryDirectory(prefix="sbs-export-") as folder:
        write(Path(folder))
        return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
