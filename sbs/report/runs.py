"""Facts of the jobs behind a report: their times, and the code, data and devices they used."""

from __future__ import annotations

import json
import statistics as numbers
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RECORDS = ("metrics.json", "search.json")


@dataclass(frozen=True)
class RuleTimes:
    """Wall seconds of the jobs of a rule."""

    rule: str
    jobs: int
    total: float
    median: float
    longest: float


@dataclass(frozen=True)
class Statistics:
    """Time span of the jobs, and the times of each rule; the largest total comes first."""

    first: datetime
    last: datetime
    rules: list[RuleTimes]

    @property
    def total(self) -> float:
        """Sum of the wall seconds of all jobs."""
        return sum(times.total for times in self.rules)

    @property
    def jobs(self) -> int:
        """Number of jobs."""
        return sum(times.jobs for times in self.rules)


@dataclass(frozen=True)
class Provenance:
    """Facts from the run records; each value has the number of records that contain it."""

    records: int
    facts: dict[str, Counter[str]]


def statistics(jobs: Iterable[Any]) -> Statistics:
    """Times by rule, from Snakemake's job records (at least one)."""
    jobs = list(jobs)
    seconds: dict[str, list[float]] = {}
    for job in jobs:
        seconds.setdefault(str(job.rule), []).append(job.endtime - job.starttime)
    rules = [
        RuleTimes(rule, len(times), sum(times), numbers.median(times), max(times))
        for rule, times in seconds.items()
    ]
    return Statistics(
        first=datetime.fromtimestamp(min(job.starttime for job in jobs), UTC),
        last=datetime.fromtimestamp(max(job.endtime for job in jobs), UTC),
        rules=sorted(rules, key=lambda times: -times.total),
    )


def provenance(jobs: Iterable[Any]) -> Provenance:
    """Code, data, software and devices from all run records in the jobs' outputs."""
    paths = [Path(file) for job in jobs for file in job.output if Path(file).name in RECORDS]
    return provenance_of([json.loads(path.read_text()) for path in paths if path.exists()])


def provenance_of(records: Sequence[dict[str, Any]]) -> Provenance:
    """Like :func:`provenance`, from the content of run records (JSON)."""
    facts: dict[str, Counter[str]] = {}

    def note(name: str, value: str) -> None:
        facts.setdefault(name, Counter())[value] += 1

    for record in records:
        note("Code revision", record["git_revision"])
        note("Dataset", f"{record['dataset']}, SHA-256 {record['dataset_sha256']}")
        note("Device", f"{record['device']}, threads: {record['threads']}")
        note("Interruptions survived", str(record["interruptions"]))
        for package, version in sorted(record["versions"].items()):
            note(package, version)
    return Provenance(len(records), facts)
