"""Processor time and steps of a job, kept in a file, so that an interrupted job adds up."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sbs.provenance.files import atomic_write_text


class Meter:
    """Counts by stage and part.

    Processor time, not time on the clock: other work on the machine hardly changes it. With one
    thread the two are the same on an idle machine.
    """

    def __init__(self, path: Path) -> None:
        """Read what earlier attempts counted.

        Args:
            path: the file.
        """
        self._path = path
        self._parts: dict[str, dict[str, float]] = {}
        if path.is_file():
            self._parts = json.loads(path.read_text())
        self._since = time.process_time()

    def restart(self) -> None:
        """Leave out what was done since the last part."""
        self._since = time.process_time()

    def add(self, stage: str, part: str, steps: int = 0) -> None:
        """Count the time since the last part. A part that is repeated replaces itself.

        Args:
            stage: such as ``search``.
            part: such as ``epoch 1``.
            steps: training steps in it.
        """
        now = time.process_time()
        counted = {"seconds": now - self._since, "steps": steps}
        self._parts[f"{stage}: {part}"] = counted
        self._since = now
        self._path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(self._path, json.dumps(self._parts, indent=1) + "\n")

    @contextmanager
    def part(self, stage: str, part: str) -> Iterator[None]:
        """Count what runs inside."""
        self.restart()
        yield
        self.add(stage, part)

    def hours(self, stage: str) -> float:
        """Hours of one core in a stage."""
        return self._sum(stage, "seconds") / 3600

    def steps(self) -> int:
        """Training steps of all stages."""
        return round(self._sum("", "steps"))

    def _sum(self, stage: str, key: str) -> float:
        return sum(part[key] for name, part in self._parts.items() if name.startswith(stage))
