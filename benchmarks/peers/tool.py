"""What the comparison needs to know of a tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from benchmarks.peers.meter import Meter
from benchmarks.peers.start import Start
from sbs.policy import Policy
from sbs.training.loop import Task


class CannotError(Exception):
    """A tool cannot do what is asked; the message says what was observed."""


@dataclass(frozen=True)
class Job:
    """What a tool is asked for.

    Attributes:
        start: the trained network, its data and the budget.
        level: bits of the uniform network whose bit operations are the target.
        meter: counts processor time and steps.
        folder: where the states of the trainings go.
    """

    start: Start
    level: int
    meter: Meter
    folder: Path

    @property
    def target(self) -> float:
        """Bit operations asked for."""
        return self.start.target(self.level)


@dataclass(frozen=True)
class Found:
    """What a tool made.

    Attributes:
        model: the compressed network.
        policy: bits and filters of each layer, so that one count judges all tools.
        exports: name of a format -> function that writes it into an empty folder.
        channels_last: memory format of the images that it reads.
        own_cost: bit operations by the tool's own count; None if it has none.
        notes: further facts that the run observed.
    """

    model: nn.Module
    policy: Policy
    exports: Mapping[str, Callable[[Path], object]]
    channels_last: bool = True
    own_cost: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tool:
    """One tool.

    Attributes:
        name: key in records and on the command line.
        label: name in tables.
        how: what decides the bits, in a few words.
        configured: how it is set up here, with the page of its documentation that says so.
        better: what it does that the others do not.
        packages: distributions whose versions are recorded.
        compress: job -> network.
        steps: start -> training steps to time, by name.
    """

    name: str
    label: str
    how: str
    configured: str
    better: str
    packages: tuple[str, ...]
    compress: Callable[[Job], Found]
    steps: Callable[[Start], Mapping[str, TimedTask]] = field(default=lambda start: {})


@dataclass(frozen=True)
class TimedTask:
    """A training whose step is timed.

    Attributes:
        task: the training.
        channels_last: memory format of network and images.
    """

    task: Task
    channels_last: bool = True
