"""Estimated seconds of jobs: reference costs, corrected by the runs that have finished here."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from sbs.errors import SBSError
from sbs.plan.costs import CPU, EFFORTS, OTHER, OVERHEAD, Run, Speed, reference_seconds
from sbs.plan.jobs import PlannedJob
from sbs.provenance.records import RunRecord
from sbs.registry.methods import Settings

RECORDS = ("metrics.json", "search.json")
"""Names of the run records, of which a training job writes one."""

BENCHMARKS = "benchmarks"
"""Folder of benchmark files; a path in it is like that of its run in the folder of results."""

LEAST = 5 * OVERHEAD
"""Reference seconds of a run from which on it says how fast training is."""

Key = tuple[str, str, str, str]
"""Rule, network, method and variant."""

SettingsOf = Callable[[str, dict[str, str]], Settings]
"""From the stage and the wildcards of a job, the settings that it gets."""


class Estimates:
    """Seconds of each job.

    A finished run says how much slower than the reference this machine is at jobs of its kind. An
    estimate is the reference cost times the median of these factors, of the finished runs most like
    the job: of the same row of the sheet (other seeds); else of the same rule, network and method;
    else of the same rule and method on other networks; else of all training. It is the median, so
    that one run during which the machine slept does not count for hours. A run that hardly trains,
    as a pretraining that downloads its weights, tells nothing of other jobs' speed.

    Attributes:
        speed: the reference machine.
        finished: number of finished runs that the estimates know.
    """

    def __init__(self, results: Path, settings_of: SettingsOf, speed: Speed = CPU) -> None:
        """Read the times of the runs that have finished.

        Args:
            results: folder of results of the scale.
            settings_of: settings of a training job.
            speed: the reference machine, for what a training job asks for.
        """
        self.speed = speed
        self.finished = 0
        self._results, self._settings_of = results, settings_of
        self._factors: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
        self._references: dict[int, float] = {}
        for benchmark in sorted((results / BENCHMARKS).glob("**/*.tsv")):
            self._learn_from(benchmark)

    def seconds(self, job: PlannedJob) -> float:
        """Estimated wall seconds of a job."""
        return self._reference(job) * self._factor(_key(job))

    def learn(self, job: PlannedJob, elapsed: float) -> None:
        """Take account of a job that has just finished.

        Args:
            job: the job.
            elapsed: seconds since its start, used if it has no benchmark or no record.
        """
        if job.benchmark is None or not self._learn_from(Path(job.benchmark)):
            self._add(_key(job), elapsed, self._reference(job))

    def _learn_from(self, benchmark: Path) -> bool:
        """Add the run of a benchmark file; False if its files are missing, or say nothing."""
        try:
            run = benchmark.relative_to(self._results / BENCHMARKS).with_suffix("")
            stage, network, name, variant = (*run.parent.parts, "", "")[:4]
            record = self._record(run)
            # A benchmark is of the last attempt, a record of all the training.
            seconds = max(_benchmark_seconds(benchmark), record.wall_seconds)
            done = Run(stage, network, name, variant, record.settings)
            reference = reference_seconds(done, self.speed)
        except (OSError, ValueError, KeyError, SBSError):
            return False
        self._add((stage, network, name, variant), seconds, reference)
        return True

    def _record(self, run: Path) -> RunRecord:
        paths = [self._results / run / name for name in RECORDS]
        return RunRecord.load(next((path for path in paths if path.exists()), paths[0]))

    def _add(self, key: Key, seconds: float, reference: float) -> None:
        self.finished += 1
        for group in _groups(key) if reference > LEAST else (key,):
            self._factors[group].append(seconds / reference)

    def _factor(self, key: Key) -> float:
        known = next((group for group in _groups(key) if group in self._factors), None)
        return 1.0 if known is None else median(self._factors[known])

    def _reference(self, job: PlannedJob) -> float:
        if job.id not in self._references:
            self._references[job.id] = self._new_reference(job)
        return self._references[job.id]

    def _new_reference(self, job: PlannedJob) -> float:
        if job.rule not in EFFORTS:
            return OTHER
        settings = self._settings_of(job.rule, dict(job.wildcards))
        return reference_seconds(Run(*_key(job), settings), self.speed)


def _key(job: PlannedJob) -> Key:
    return job.rule, job.network, job.method, job.variant


def _groups(key: Key) -> Iterator[tuple[str, ...]]:
    """Groups of jobs that are alike, the most alike first. The last one is all training."""
    rule, network, method, variant = key
    yield rule, network, method, variant
    yield rule, network, method
    yield rule, method
    if rule in EFFORTS:
        yield ()


def _benchmark_seconds(path: Path) -> float:
    """Column ``s`` of Snakemake's benchmark file."""
    with path.open(newline="") as file:
        return float(next(csv.DictReader(file, delimiter="\t"), {})["s"])
