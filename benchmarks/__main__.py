"""Run the benchmarks: ``make bench``, or ``python -m benchmarks --help``."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import pandas as pd
import torch
import typer

from benchmarks import data_path, image_files, jobs, starts
from benchmarks.measure import (
    alternate,
    medians,
    peak_memory,
    print_peak_memory,
    seconds_in_a_process,
)
from benchmarks.report import draw, rendering
from benchmarks.steps import VARIANTS, Network, Variant, make_step, search
from sbs.policy import Bitwidths
from sbs.runtime import allocator
from sbs.runtime.device import device_name

app = typer.Typer(add_completion=False, help=__doc__)
Row = dict[str, Any]

BASELINES = ("plain", "plain, contiguous", "plain, compiled")
TURNS = 5
BITWIDTHS = {"1 candidate": (4,), "2 candidates": (4, 8), "4 candidates": (1, 2, 4, 8)}


PARTS = ("images", "files", "steps", "memory", "growth", "processes", "jobs", "starts")


@app.command()
def run(
    output: Annotated[Path, typer.Option(help="CSV to write; the plot has the same name.")] = Path(
        "results/benchmarks.csv"
    ),
    repeats: Annotated[int, typer.Option(help="Timed steps per variant.")] = 7,
    threads: Annotated[int, typer.Option(help="Threads of a step.")] = os.cpu_count() or 1,
    networks: Annotated[str, typer.Option(help="Depths, separated by commas.")] = "20,56",
    parts: Annotated[str, typer.Option(help="What to measure, separated by commas.")] = ",".join(
        PARTS
    ),
) -> None:
    """Measure, and write the table and the plot; rows of parts left out stay as they are."""
    torch.set_num_threads(threads)
    depths = [Network(int(depth)) for depth in networks.split(",")]
    chosen = parts.split(",")
    if unknown := set(chosen) - set(PARTS):
        raise typer.BadParameter(
            f"{sorted(unknown)[0]!r} is none of {', '.join(PARTS)}", param_hint="--parts"
        )
    for part in chosen:
        rows = []
        for row in _measured(part, depths, repeats, threads):
            row |= {"device": device_name(torch.device("cpu")), "torch": torch.__version__}
            row |= {"threads": row.get("threads", threads), "python": platform.python_version()}
            rows.append(row)
            print({key: row[key] for key in ("section", "network", "variant", "value", "ratio")})
        _write(rows, output)


def _measured(part: str, depths: list[Network], repeats: int, threads: int) -> Iterator[Row]:
    match part:
        case "images":
            yield from _images("images a second", "", data_path.measure(repeats))
        case "files":
            for size, rates in image_files.measure(repeats).items():
                yield from _images("image files a second of one core", size, rates)
        case "steps":
            for network in depths:
                for precision in ("fp32", "bf16"):
                    yield from _steps(network, precision, repeats)
        case "memory":
            for network in depths:
                yield from _memory(network, threads)
        case "growth":
            yield from _growth(repeats)
            yield from _growth_memory(threads)
        case "processes":
            yield from _processes(threads)
        case "jobs":
            yield from _jobs()
        case "starts":
            yield from _starts(repeats)


def _write(rows: list[Row], output: Path) -> None:
    """Write the table after every part, so that nothing measured is lost if a later one fails."""
    table = pd.DataFrame(rows)
    if output.is_file():
        old = pd.read_csv(output, keep_default_na=False)
        table = pd.concat([old[~old["section"].isin(table["section"])], table])
    output.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(output, index=False, float_format="%.6g")
    output.with_suffix(".md").write_text(rendering(table))
    draw(table, output.with_suffix(".svg"))


@app.command()
def memory(variant: str, depth: int, width: int, precision: str, threads: int) -> None:
    """Print the peak memory of this process over a few steps (used by ``run``)."""
    print_peak_memory(variant, Network(depth, width), precision, threads)


@app.command()
def steps(variant: str, depth: int, threads: int, count: int) -> None:
    """Run some steps and print their median seconds (used by ``run``)."""
    torch.set_num_threads(threads)
    step = make_step(VARIANTS[variant], Network(depth))
    print(medians(alternate({variant: step}, count))[variant])


def _rows(
    section: str, network: Network, precision: str, values: dict[str, float]
) -> Iterator[Row]:
    """Rows with values and their ratios to the best plain step among them."""
    plain = min(values[name] for name in values if name in BASELINES)
    for name, value in values.items():
        yield {
            "section": section,
            "network": network.name,
            "precision": precision,
            "variant": name,
            "value": value,
            "ratio": value / plain,
        }


def _steps(network: Network, precision: str, repeats: int) -> Iterator[Row]:
    steps = {name: make_step(v, network, precision) for name, v in VARIANTS.items()}
    yield from _rows("step seconds", network, precision, medians(alternate(steps, repeats)))


def _memory(network: Network, threads: int) -> Iterator[Row]:
    peaks = {name: peak_memory(name, network, "fp32", threads) for name in VARIANTS}
    yield from _rows(
        "peak megabytes", network, "fp32", {name: peak["peak"] for name, peak in peaks.items()}
    )
    above = {name: peak["peak"] - peak["idle"] for name, peak in peaks.items()}
    yield from _rows("megabytes above idle", network, "fp32", above)


def _growth(repeats: int) -> Iterator[Row]:
    """Growth of the search with depth, width and candidates, relative to the plain step."""
    for network in _sizes():
        steps = {name: make_step(VARIANTS[name], network) for name in ("plain", "SBS")}
        yield from _rows("growth, seconds", network, "fp32", medians(alternate(steps, repeats)))
    candidates = {
        name: Variant(partial(search, prune=True, bitwidths=Bitwidths(bitwidths)))
        for name, bitwidths in BITWIDTHS.items()
    }
    variants = {"plain": VARIANTS["plain"], "3 candidates": VARIANTS["SBS"], **candidates}
    steps = {name: make_step(variant, Network()) for name, variant in variants.items()}
    yield from _rows("candidates, seconds", Network(), "fp32", medians(alternate(steps, repeats)))


def _growth_memory(threads: int) -> Iterator[Row]:
    for network in _sizes():
        peaks = {
            name: peak_memory(name, network, "fp32", threads)["peak"] for name in ("plain", "SBS")
        }
        yield from _rows("growth, megabytes", network, "fp32", peaks)


def _sizes() -> list[Network]:
    return [Network(depth) for depth in (20, 32, 44, 56)] + [Network(20, 2), Network(20, 4)]


def _processes(threads: int) -> Iterator[Row]:
    """Search steps per second on all cores: in one process, and in one process per core."""
    network = Network()
    together, apart = [], []
    for _ in range(TURNS):
        together.append(1 / seconds_in_a_process("SBS", network, threads))
        with ThreadPoolExecutor(threads) as pool:
            each = pool.map(lambda _: seconds_in_a_process("SBS", network, 1), range(threads))
            apart.append(sum(1 / seconds for seconds in each))
    rates = {"one process, all cores": median(together), "a process a core": median(apart)}
    for name, rate in rates.items():
        yield {
            "section": "steps a second",
            "network": network.name,
            "precision": "fp32",
            "variant": name,
            "value": rate,
            "ratio": rate / rates["one process, all cores"],
        }


def _images(section: str, size: str, rates: dict[str, float]) -> Iterator[Row]:
    """Images per second; ratio to torchvision's."""
    for name, rate in rates.items():
        yield {
            "section": section,
            "network": size,
            "precision": "",
            "variant": name,
            "value": rate,
            "ratio": rate / rates["torchvision"],
        }


def _jobs() -> Iterator[Row]:
    """Seconds of a job of the default scale besides training; ratio of the job to its training."""
    for stage, seconds in jobs.measure(TURNS).items():
        yield {
            "section": "seconds of a job besides training",
            "network": jobs.NETWORK,
            "precision": "fp32",
            "variant": stage,
            "threads": 1,
            "value": seconds["job"] - seconds["training"],
            "ratio": seconds["job"] / seconds["training"],
        }


def _starts(repeats: int) -> Iterator[Row]:
    """Seconds of a first use; ratio to PyTorch's import."""
    seconds = starts.measure(repeats)
    for name, value in seconds.items():
        yield {
            "section": "seconds of a first use",
            "network": "",
            "precision": "",
            "variant": name,
            "threads": 1,
            "value": value,
            "ratio": value / seconds[starts.PYTORCH],
        }


def main() -> None:
    """Entry point; sets the allocator as the stages do, also for plain steps."""
    allocator.keep_freed_memory()
    app()


if __name__ == "__main__":
    main()
