"""Progress of a compression: lines with the time left, and callbacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import nn

from sbs.runtime.progress import Reporter


@dataclass(frozen=True)
class EpochEnd:
    """What a callback gets after each epoch.

    Attributes:
        stage: ``"search"`` or ``"finetune"``.
        epoch: number of the epoch, from 1.
        epochs: epochs of the stage.
        numbers: mean loss and seconds; in the search also the cost of the gates and λ.
        seconds_left: estimated seconds to the end of both stages.
        model: the network in training; it can be evaluated, but must not be changed.
    """

    stage: str
    epoch: int
    epochs: int
    numbers: Mapping[str, Any]
    seconds_left: float
    model: nn.Module


Callback: TypeAlias = Callable[[EpochEnd], object]


class StageReporter(Reporter):
    """Reports one of the two stages."""

    def __init__(
        self, title: str, stage: str, later: int, callbacks: Sequence[Callback], *, verbose: bool
    ) -> None:
        """Create it.

        Args:
            title: name of the run.
            stage: name of the stage.
            later: epochs of stages after this one.
            callbacks: called after each epoch.
            verbose: whether to write lines, and a bar on a terminal.
        """
        super().__init__(f"{title} {stage}")
        self._stage, self._later, self._callbacks = stage, later, callbacks
        self._seconds: list[float] = []
        self.console.quiet = not verbose

    def epoch(self, summary: Mapping[str, Any], epochs: int, model: object) -> None:
        """Report the end of an epoch, with the time left."""
        assert isinstance(model, nn.Module)
        self._seconds.append(float(summary["seconds"]))
        mean = sum(self._seconds) / len(self._seconds)
        left = mean * (epochs - summary["epoch"] + self._later)
        super().epoch({**summary, "left": _duration(left)}, epochs, model)
        event = EpochEnd(self._stage, summary["epoch"], epochs, dict(summary), left, model)
        for callback in self._callbacks:
            callback(event)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
