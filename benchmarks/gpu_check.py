"""Check and time everything on a GPU, and write one record: ``make gpu-check``."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer

from benchmarks.gpu_stages import run_stages, run_tests
from benchmarks.kernel_check import DTYPES, cases, compare
from benchmarks.measure import alternate, medians
from benchmarks.steps import BATCH, VARIANTS, Network, make_step
from sbs.errors import SBSError
from sbs.provenance.files import atomic_write_text
from sbs.provenance.records import git_revision, json_by_line, software_versions
from sbs.runtime.device import choose_device, device_name, peak_memory_bytes, synchronize

TIMED = ("plain", "fixed 4-bit", "SBS")
Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What to check, and how much of it.

    Attributes:
        device: where.
        tests: files of the tests marked ``device``.
        methods: methods whose stages run; none are all of the sheet.
        depths: of the networks whose steps are timed.
        repeats: timed steps of every kind.
        batch: images of a timed step.
    """

    device: torch.device
    tests: list[str]
    methods: list[str]
    depths: list[int]
    repeats: int
    batch: int


def kernels(plan: Plan) -> Iterator[Row]:
    """Every kernel against its reference function, in every precision."""
    for case in cases():
        for precision in DTYPES:
            try:
                yield compare(case, precision, plan.device)
            except Exception as error:  # the other kernels are worth knowing about
                message = f"{type(error).__name__}: {error}"
                row = {"case": case.name, "precision": precision}
                yield row | {"outcome": "failed", "message": message}


def steps(plan: Plan) -> Iterator[Row]:
    """Seconds and peak memory of training steps, and their ratios to the plain one."""
    for depth in plan.depths:
        for precision in DTYPES:
            network = Network(depth, device=plan.device)
            memory = {name: _peak(name, network, precision, plan) for name in TIMED}
            timed = {name: _step(name, network, precision, plan) for name in TIMED}
            seconds = medians(alternate(timed, plan.repeats))
            for name in TIMED:
                yield {
                    "network": network.name,
                    "precision": precision,
                    "variant": name,
                    "seconds": seconds[name],
                    "ratio": seconds[name] / seconds["plain"],
                    "peak_megabytes": memory[name] / 2**20,
                    "memory_ratio": memory[name] / memory["plain"],
                }


def _step(name: str, network: Network, precision: str, plan: Plan) -> Callable[[], None]:
    """A step that ends when the device has done its work."""
    step = make_step(VARIANTS[name], network, precision, plan.batch)

    def whole() -> None:
        step()
        synchronize(plan.device)

    return whole


def _peak(name: str, network: Network, precision: str, plan: Plan) -> int:
    """Most memory in bytes during a step, with nothing else on the device."""
    gc.collect()
    step = _step(name, network, precision, plan)
    step()
    if plan.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(plan.device)
    step()
    return peak_memory_bytes(plan.device)


PARTS: dict[str, Callable[[Plan], Iterable[Row]]] = {
    "tests": lambda plan: run_tests(plan.device, plan.tests),
    "stages": lambda plan: run_stages(plan.device, plan.methods),
    "kernels": kernels,
    "steps": steps,
}


def check(plan: Plan, output: Path) -> list[str]:
    """Run all parts and write the record, again after each of them.

    Returns:
        what failed, a line each.
    """
    record = _about(plan.device) | {"passed": False, "parts": {}}
    failures = []
    for name, run in PARTS.items():
        part = record["parts"][name] = _outcome(run, plan)
        failures += [f"{name}: {message}" for message in part["failures"]]
        print(f"gpu-check: {name} {part['outcome']} in {part['seconds']:.0f} s", flush=True)
        record["passed"] = len(record["parts"]) == len(PARTS) and not failures
        atomic_write_text(output, json_by_line(_by_part(record)))
    return failures


def _outcome(run: Callable[[Plan], Iterable[Row]], plan: Plan) -> Row:
    """Rows of a part, those before an error too, and what failed."""
    started = time.perf_counter()
    rows: list[Row] = []
    failures: list[str] = []
    try:
        for row in run(plan):
            rows.append(row)
            if row.get("outcome") == "failed":
                failures.append(" ".join(str(v) for k, v in row.items() if k != "share_off"))
    except Exception as error:  # one part that breaks must not hide the others
        failures.append(f"{type(error).__name__}: {error}")
    return {
        "outcome": "failed" if failures else "passed",
        "failures": failures,
        "seconds": round(time.perf_counter() - started, 1),
        "rows": rows,
    }


def _by_part(record: Row) -> Row:
    """The record with the rows of each part under a key of their own, a line a row."""
    parts = record["parts"]
    summary = {name: {k: v for k, v in part.items() if k != "rows"} for name, part in parts.items()}
    return record | {"parts": summary} | {name: part["rows"] for name, part in parts.items()}


def _about(device: torch.device) -> Row:
    """Device, driver, versions and revision."""
    return {
        "device": device_name(device),
        "driver": _driver() if device.type == "cuda" else None,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "versions": software_versions(),
        "revision": git_revision(),
    }


def _driver() -> str:
    """Version of the GPU's driver, as NVIDIA's tool gives it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return (done.stdout.split() or ["unknown"])[0]


def main(
    output: Annotated[Path, typer.Option(help="The record.")] = Path("results/gpu-check.json"),
    device: Annotated[
        Literal["cuda", "cpu"], typer.Option(help="cpu tries the program itself.")
    ] = "cuda",
    tests: Annotated[str, typer.Option(help="Test files, with commas.")] = "tests",
    methods: Annotated[str, typer.Option(help="With commas; default: all of the sheet.")] = "",
    depths: Annotated[str, typer.Option(help="Depths of timed networks, with commas.")] = "20,56",
    repeats: Annotated[int, typer.Option(help="Timed steps of every kind.")] = 20,
    batch: Annotated[int, typer.Option(help="Images of a timed step.")] = BATCH,
) -> None:
    """Run the tests, the stages and the kernels on a GPU, time steps there, write one record."""
    try:
        chosen = choose_device(device)
    except SBSError as error:
        raise SystemExit(
            "gpu-check: no CUDA device is usable on this machine; run it on one with an NVIDIA GPU"
        ) from error
    plan = Plan(
        chosen,
        tests.split(","),
        [name for name in methods.split(",") if name],
        [int(depth) for depth in depths.split(",")],
        repeats,
        batch,
    )
    failures = check(plan, output)
    for line in failures:
        print(f"gpu-check: failed: {line}", file=sys.stderr)
    print(f"gpu-check: wrote {output}")
    raise typer.Exit(1 if failures else 0)


if __name__ == "__main__":
    typer.run(main)
