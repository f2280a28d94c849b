"""A job as the plan sees it, from what Snakemake says about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PlannedJob:
    """A job that Snakemake will run.

    Attributes:
        id: Snakemake's number of the job.
        rule: name of its rule; rules that train are named like their stage.
        wildcards: its wildcards, for instance network, method, variant and seed.
        threads: CPU threads.
        gpu: GPUs.
        input: files that it reads.
        output: files that it makes.
        log: its log files.
        benchmark: file with its time, written when it has finished; None if the rule has none.
    """

    id: int
    rule: str
    wildcards: Mapping[str, str]
    threads: int
    gpu: int
    input: tuple[str, ...]
    output: tuple[str, ...]
    log: tuple[str, ...]
    benchmark: str | None

    @property
    def title(self) -> str:
        """Short name for people."""
        return " ".join([self.rule, *self.wildcards.values()])

    @property
    def network(self) -> str:
        """Network of the run; empty if it has none."""
        return self.wildcards.get("network", "")

    @property
    def method(self) -> str:
        """Method of the run; empty if it has none."""
        return self.wildcards.get("method", "")

    @property
    def variant(self) -> str:
        """Label of the run's row in the sheet; empty if it has none."""
        return self.wildcards.get("variant", "")

    @property
    def is_stale(self) -> bool:
        """Whether all its outputs exist, so that it runs because something has changed."""
        return all(Path(path).exists() for path in self.output)


def from_event(event: Any) -> PlannedJob:
    """The job of Snakemake's log event JOB_INFO."""
    return _job(
        event.jobid, event.rule_name, event.wildcards, event.threads, event.resources, event
    )


def from_workflow(workflow: Any) -> list[PlannedJob]:
    """The jobs that a Snakemake workflow is about to run."""
    return [
        _job(job.jobid, job.rule.name, job.wildcards_dict, job.threads, job.resources, job)
        for job in workflow.dag.needrun_jobs()
    ]


def waits_for(jobs: Iterable[PlannedJob]) -> dict[int, set[int]]:
    """For each job, the other jobs whose outputs it reads, by number."""
    jobs = list(jobs)
    maker = {path: job.id for job in jobs for path in job.output}
    return {job.id: {maker[path] for path in job.input if path in maker} for job in jobs}


def _job(
    number: int, rule: str, wildcards: Mapping[str, str], threads: int, resources: Any, files: Any
) -> PlannedJob:
    return PlannedJob(
        id=number,
        rule=rule,
        wildcards=dict(wildcards),
        threads=threads,
        gpu=int(dict(resources.items()).get("gpu", 0)),
        input=tuple(map(str, files.input)),
        output=tuple(map(str, files.output)),
        log=tuple(map(str, files.log)),
        benchmark=None if files.benchmark is None else str(files.benchmark),
    )
