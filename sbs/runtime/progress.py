"""Progress of a running job: one line per epoch, and a progress bar on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sbs.runtime import processes

T = TypeVar("T")


class Reporter:
    """Progress of one training job, on standard error.

    A log gets one line per epoch. A terminal also gets a bar for the current epoch. Of several
    processes, only the first one writes.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.console = Console(file=sys.stderr, soft_wrap=True, highlight=False)

    def steps(self, batches: Iterable[T], total: int, epoch: int, epochs: int) -> Iterator[T]:
        """Yield ``batches``; show a bar if standard error is a terminal."""
        if not self.console.is_terminal or not processes.is_first():
            yield from batches
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            yield from bar.track(
                batches, total=total, description=f"{self.title} epoch {epoch + 1}/{epochs}"
            )

    def epoch(self, summary: Mapping[str, Any], epochs: int, model: object) -> None:
        """Report the end of an epoch.

        Args:
            summary: its number, counted from 1, its mean loss and seconds, and numbers of the task.
            epochs: number of epochs.
            model: the network in training.
        """
        rest = [
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in summary.items()
            if key != "epoch"
        ]
        self.line(f"epoch {summary['epoch']}/{epochs} " + " ".join(rest))

    def line(self, text: str) -> None:
        """Write one line immediately."""
        if not processes.is_first():
            return
        self.console.print(f"{self.title}: {text}", markup=False)
        sys.stderr.flush()
