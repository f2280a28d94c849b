"""Compare with other tools: ``make peers``, or ``python -m benchmarks.peers --help``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.peers import page, steps
from benchmarks.peers.records import record_path
from benchmarks.peers.runner import run as run_tool
from benchmarks.peers.start import DATA, Start
from benchmarks.peers.tools import TOOLS
from sbs.data.fetch import fetch
from sbs.errors import SBSError
from sbs.runtime import allocator

app = typer.Typer(add_completion=False, help=__doc__)

Folder = Annotated[Path, typer.Option(help="Where records and page go.")]
Epochs = Annotated[int, typer.Option(help="Epochs of the search, and again of the training.")]
Data = Annotated[Path, typer.Option(help="CIFAR-100, as `sbs fetch` writes it.")]
RESULTS = Path("results/peers")
EPOCHS = 4
"""As in config/cifar100-short.yaml."""


@app.command()
def run(
    folder: Folder = RESULTS,
    epochs: Epochs = EPOCHS,
    levels: Annotated[str, typer.Option(help="Targets: the cost of so many bits.")] = "4,3",
    tools: Annotated[str, typer.Option(help="Tools, separated by commas.")] = ",".join(TOOLS),
    data: Data = DATA,
) -> None:
    """Run what has no record yet, each tool in a process of its own; then write the page."""
    chosen = tools.split(",")
    if unknown := set(chosen) - set(TOOLS):
        raise typer.BadParameter(
            f"{sorted(unknown)[0]!r} is none of {', '.join(TOOLS)}", param_hint="--tools"
        )
    pending = [
        ("one", tool, level, f"--epochs={epochs}")
        for level in levels.split(",")
        for tool in chosen
        if not record_path(folder, tool, int(level)).is_file()
    ]
    if not (folder / steps.FILE).is_file():
        pending.append(("times",))
    if pending and not data.is_file():
        fetch("cifar100", data)
    crashed = [" ".join(job) for job in pending if not _done(*job, folder=folder, data=data)]
    page.write(folder, TOOLS)
    if crashed:
        raise SBSError(f"no record of: {', '.join(crashed)}; see above, and run it again")


@app.command()
def one(
    tool: str,
    level: int,
    folder: Folder = RESULTS,
    epochs: Epochs = EPOCHS,
    data: Data = DATA,
) -> None:
    """Run one tool for one target (used by ``run``)."""
    print(run_tool(TOOLS[tool], level, Start.open(epochs, data), folder))


@app.command()
def times(
    folder: Folder = RESULTS,
    repeats: Annotated[int, typer.Option(help="Timed steps of each kind.")] = 7,
    data: Data = DATA,
) -> None:
    """Time a training step of each tool (used by ``run``)."""
    steps.measure(TOOLS, Start.open(1, data), repeats, folder)


@app.command("page")
def write_page(folder: Folder = RESULTS) -> None:
    """Write the page from the records."""
    page.write(folder, TOOLS)


def _done(*arguments: str, folder: Path, data: Path) -> bool:
    """Whether a command of this file ends well in a process of its own."""
    print(*arguments, flush=True)
    command = [sys.executable, "-m", "benchmarks.peers", *arguments]
    return not subprocess.run([*command, f"--folder={folder}", f"--data={data}"]).returncode


def main() -> None:
    """Entry point; one thread, and the allocator as the stages set it."""
    torch.set_num_threads(1)
    allocator.keep_freed_memory()
    app()


if __name__ == "__main__":
    main()
