"""Wall time of jobs that wait for each other and share cores and GPUs."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sbs.plan.jobs import PlannedJob, waits_for


@dataclass(frozen=True)
class Places:
    """What jobs can use at a time: CPU threads and GPUs."""

    cores: int
    gpus: int

    def plus(self, other: Places, sign: int = 1) -> Places:
        """These and others; less the others with ``sign`` -1."""
        return Places(self.cores + sign * other.cores, self.gpus + sign * other.gpus)

    @classmethod
    def of(cls, workflow: Any, threads: int) -> Places:
        """What a Snakemake workflow may use.

        Args:
            workflow: Snakemake's workflow.
            threads: CPU threads of a training job, of which a cluster runs several.
        """
        given = workflow.resource_settings
        cores = given.nodes * threads if given.nodes else given.cores or 1
        return cls(cores, int(workflow.global_resources.get("gpu").value or cores))


def wall_seconds(jobs: Sequence[PlannedJob], seconds: Mapping[int, float], places: Places) -> float:
    """Time until the last job ends, if each starts as soon as its inputs and a place are there.

    Args:
        jobs: jobs, in the order in which they take a free place.
        seconds: wall seconds of each, by number.
        places: cores and GPUs to share; a job that wants more of them gets all.
    """
    waits = waits_for(jobs)
    readers: dict[int, list[PlannedJob]] = {job.id: [] for job in jobs}
    for job in jobs:
        for number in waits[job.id]:
            readers[number].append(job)
    ready = deque(job for job in jobs if not waits[job.id])
    running: list[tuple[float, int, Places]] = []
    now, free = 0.0, places
    while ready or running:
        for job, needs in list(_fitting(ready, free, places)):
            free = free.plus(needs, -1)
            heapq.heappush(running, (now + seconds[job.id], job.id, needs))
        now, done, freed = heapq.heappop(running)
        free = free.plus(freed)
        for reader in readers[done]:
            waits[reader.id].discard(done)
            if not waits[reader.id]:
                ready.append(reader)
    return now


def _fitting(
    ready: deque[PlannedJob], free: Places, places: Places
) -> Iterator[tuple[PlannedJob, Places]]:
    """Take the jobs that fit into the free places, and what each needs; the others keep waiting."""
    blocked = []
    while ready and free.cores:
        job = ready.popleft()
        needs = Places(min(job.threads, places.cores), min(job.gpu, places.gpus))
        if needs.cores <= free.cores and needs.gpus <= free.gpus:
            free = free.plus(needs, -1)
            yield job, needs
        else:
            blocked.append(job)
    ready.extendleft(reversed(blocked))
