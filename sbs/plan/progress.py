"""Progress of a workflow: finished jobs, the share of the work done, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sbs.plan.estimates import Estimates
from sbs.plan.jobs import PlannedJob
from sbs.plan.schedule import Places, wall_seconds
from sbs.plan.table import duration, summary

SHOWN = 8
"""Running jobs that are shown at most."""

TAIL = 4096
"""Bytes at the end of a log in which its last line is looked for."""

NEARLY = 0.95
"""A job that takes longer than estimated counts as done to this share, until it ends."""


class Progress:
    """Progress of the jobs of a workflow.

    Attributes:
        plan: one sentence about all jobs, from before the first one started.
    """

    def __init__(
        self,
        jobs: Sequence[PlannedJob],
        estimates: Estimates,
        places: Places,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing has started yet.

        Args:
            jobs: all jobs that will run.
            estimates: seconds of each; learns from the jobs that finish.
            places: cores and GPUs.
            clock: the time in seconds.
        """
        self._jobs = {job.id: job for job in jobs}
        self._estimates, self._places, self._clock = estimates, places, clock
        self._started: dict[int, float] = {}
        self._taken: dict[int, float] = {}
        self._seconds = {job.id: estimates.seconds(job) for job in jobs}
        self.plan = f"{summary(jobs, self._seconds, places)}."

    def started(self, number: int) -> None:
        """A job has started, for the first time or again."""
        self._started[number] = self._clock()

    def failed(self, number: int) -> None:
        """A job has failed; Snakemake may start it again."""
        self._started.pop(number, None)

    def finished(self, number: int) -> None:
        """A job has finished."""
        elapsed = self._clock() - self._started.pop(number, self._clock())
        self._taken[number] = elapsed
        self._estimates.learn(self._jobs[number], elapsed)
        self._seconds = {job.id: self._estimates.seconds(job) for job in self._jobs.values()}

    @property
    def share(self) -> float:
        """Share of the estimated work that is done, from 0 to 1."""
        done = sum(self._taken.values())
        done += sum(self._done_of_running(number) for number in self._started)
        whole = sum(self._taken.values())
        whole += sum(self._seconds[number] for number in self._jobs if number not in self._taken)
        return done / whole if whole else 1.0

    @property
    def seconds_left(self) -> float:
        """Estimated seconds until the last job ends."""
        left = [number for number in self._jobs if number not in self._taken]
        left.sort(key=lambda number: number not in self._started)
        seconds = {
            number: self._seconds[number]
            - (self._done_of_running(number) if number in self._started else 0.0)
            for number in left
        }
        return wall_seconds([self._jobs[number] for number in left], seconds, self._places)

    @property
    def rest(self) -> str:
        """Share of the work and time left, in words; empty at the end."""
        if len(self._taken) == len(self._jobs):
            return ""
        return f"{self.share:.0%} of the work, about {duration(self.seconds_left)} left"

    def drawn(self) -> RenderableType:
        """A bar, and a line for each running job: its last epoch."""
        bar = ProgressBar(total=1.0, completed=self.share, width=20)
        head = Table.grid(padding=(0, 1))
        counts = f"{len(self._taken)} of {len(self._jobs)} jobs done"
        head.add_row(bar, f"{counts}: {self.rest}" if self.rest else counts)
        return Group(head, *self._running())

    def _running(self) -> Iterator[Text]:
        shown = list(self._started)[:SHOWN]
        for number in shown:
            line = _last_line(self._jobs[number]) or self._jobs[number].title
            yield Text(f"  {line}", style="dim", no_wrap=True, overflow="ellipsis")
        if more := len(self._started) - len(shown):
            yield Text(f"  and {more} more", style="dim")

    def _done_of_running(self, number: int) -> float:
        elapsed = self._clock() - self._started[number]
        return min(elapsed, NEARLY * self._seconds[number])


def _last_line(job: PlannedJob) -> str:
    """Last line of a job's log: of a training job, its last epoch. Empty if there is none."""
    for path in map(Path, job.log):
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - TAIL))
                lines = file.read().decode(errors="replace").split("\n")
        except OSError:
            continue
        return next((line for line in reversed(lines) if line.strip()), "")
    return ""
