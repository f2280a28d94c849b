"""The plan: what will run and how long it will take, as a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from sbs.plan.costs import EFFORTS
from sbs.plan.estimates import Estimates
from sbs.plan.jobs import PlannedJob
from sbs.plan.schedule import Places, wall_seconds
from sbs.registry.methods import methods

UNITS = ((86_400.0, "days"), (3600.0, "h"), (60.0, "min"))
OTHER = "other jobs"


def duration(seconds: float) -> str:
    """An estimated time in words, with two digits at most: ``8 s``, ``1.5 h``."""
    size, unit = next(((s, u) for s, u in UNITS if seconds >= 1.5 * s), (1.0, "s"))
    number = seconds / size
    return f"{number:.0f} {unit}" if number >= 10 or unit == "s" else f"{number:.1f} {unit}"


def summary(jobs: Sequence[PlannedJob], seconds: Mapping[int, float], places: Places) -> str:
    """One sentence: number of jobs, their cost, and the time until the last one ends.

    Args:
        jobs: jobs to run.
        seconds: estimated wall seconds of each, by number.
        places: cores and GPUs.
    """
    core_seconds = sum(job.threads * seconds[job.id] for job in jobs)
    gpu_seconds = sum(job.gpu * seconds[job.id] for job in jobs)
    cores = min(places.cores, sum(job.threads for job in jobs))
    costs, where = [_cost(core_seconds, "core")], [_number(cores, "core")]
    if gpu_seconds:
        costs.append(_cost(gpu_seconds, "GPU"))
        where.append(_number(places.gpus, "GPU"))
    wall = duration(wall_seconds(jobs, seconds, places))
    counted = _number(len(jobs), "job")
    return f"{counted}, {' and '.join(costs)}: about {wall} on {' and '.join(where)}"


def plan(
    title: str, jobs: Sequence[PlannedJob], estimates: Estimates, places: Places
) -> RenderableType:
    """The jobs by stage, network and method, with their summary.

    Args:
        title: what is planned.
        jobs: jobs to run.
        estimates: seconds of each.
        places: cores and GPUs.
    """
    seconds = {job.id: estimates.seconds(job) for job in jobs}
    groups: defaultdict[tuple[str, str, str], list[PlannedJob]] = defaultdict(list)
    for job in jobs:
        trains = job.rule in EFFORTS
        groups[(job.rule, job.network, job.method) if trains else (OTHER, "", "")].append(job)
    table = Table(box=box.SIMPLE, title=title, title_justify="left", title_style="bold")
    for name in ("stage", "network", "method"):
        table.add_column(name, overflow="fold")
    for name in ("missing", "stale", "sum of times"):
        table.add_column(name, justify="right")
    for key, members in sorted(groups.items(), key=lambda group: _position(group[0])):
        stale = sum(job.is_stale for job in members)
        total = sum(seconds[job.id] for job in members)
        counts = [str(n or "") for n in (len(members) - stale, stale)]
        table.add_row(*key, *counts, duration(total))
    return Group(table, f"{summary(jobs, seconds, places)}.", _basis(estimates))


def _basis(estimates: Estimates) -> str:
    if estimates.finished:
        return f"Estimated from {_number(estimates.finished, 'run')} that finished here."
    return f"No run has finished here yet. {estimates.speed.source}"


def _position(key: tuple[str, str, str]) -> tuple[int, str, int, str]:
    """Stages in the order in which they run, methods as in the tables; other jobs last."""
    stage, network, name = key
    stages, known = list(EFFORTS), methods()
    position = stages.index(stage) if stage in stages else len(stages)
    return position, network, known[name].order if name in known else 0, name


def _cost(seconds: float, what: str) -> str:
    """For instance ``34 core minutes`` or ``3.5 GPU hours``."""
    hours = seconds / 3600
    if hours < 1:
        return f"{60 * hours:.2g} {what} minutes"
    return f"{hours:.0f} {what} hours" if hours >= 10 else f"{hours:.1f} {what} hours"


def _number(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
