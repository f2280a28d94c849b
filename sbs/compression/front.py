"""Several targets of one network: accuracy against cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from sbs.compression.call import Call
from sbs.compression.goal import Goal
from sbs.compression.result import Compressed, in_words
from sbs.compression.run import compress
from sbs.compression.stages import results_of
from sbs.errors import SBSError
from sbs.policy import FULL_PRECISION
from sbs.provenance.files import atomic_write
from sbs.registry.costs import cost_model
from sbs.runtime.seeding import own_random_states
from sbs.training.batch import Batch

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Front:
    """Results of :func:`sbs.front`; ``str()`` of it is the table.

    Attributes:
        results: one for each target, in their order.
    """

    results: tuple[Compressed, ...]

    def __str__(self) -> str:
        return self.table().to_string(index=False)

    def table(self) -> pd.DataFrame:
        """A row for each target: target, cost, share of the cost of the last row, score, and flips.

        Flips are decisions that a landing step changed after the search. The last row is the
        network itself, at full precision. If the cost model knows no cost of that, the row names
        the bitwidth of its cost.
        """
        import pandas as pd

        rows = [
            {
                "target": one.goal.words,
                "cost": one.cost(),
                "share": one.cost() / one.full_cost(),
                "score": one.score,
                "flips": one.landing_flips,
            }
            for one in self.results
        ]
        first = self.results[0]
        whole, bits = in_words(FULL_PRECISION), in_words(first.full_bits())
        name = whole if bits == whole else f"{whole}, cost at {bits}"
        last = {"target": name, "cost": first.full_cost(), "share": 1.0}
        return pd.DataFrame([*rows, {**last, "score": first.full_score, "flips": 0}])

    def plot(self, path: str | Path) -> None:
        """Draw score against cost, with the score at full precision as a line.

        Args:
            path: file to write; its ending says the format, such as ``.svg`` or ``.png``.

        Raises:
            SBSError: there are no scores.
        """
        from matplotlib.figure import Figure

        first = self.results[0]
        if first.full_score is None:
            raise SBSError("there are no scores to draw: give val_loader to sbs.front")
        model = cost_model(first.goal.resource)
        points = self.table().iloc[:-1].sort_values("cost")
        figure = Figure(figsize=(5, 3.5), layout="constrained")
        axes = figure.subplots()
        axes.plot(points["cost"] / model.scale, points["score"], marker="o")
        axes.axhline(first.full_score, linestyle="--", color="0.4", label="full precision")
        axes.set(xscale="log", xlabel=f"{model.label} ({model.unit})", ylabel="score")
        axes.legend()
        with atomic_write(Path(path)) as temporary:
            figure.savefig(temporary, format=Path(path).suffix.removeprefix(".") or "png")


def front(
    model: nn.Module,
    train_loader: Iterable[Batch],
    targets: Sequence[str | float],
    *,
    checkpoint: str | Path | None = None,
    **options: Any,
) -> Front:
    """Compress a network to several targets, each by a search of its own.

    Before the first search, all targets are checked.

    Args:
        model: as for :func:`sbs.compress`, like the following.
        train_loader: batches.
        targets: targets in one cost, such as ``["6-bit", "4-bit", "3-bit"]``.
        checkpoint: folder for the states; finished targets are not computed again.
        options: further arguments of :func:`sbs.compress`.

    Raises:
        SBSError: targets of different costs, or see :func:`sbs.compress`.
    """
    if isinstance(targets, str):
        raise SBSError(f"targets: give a list, such as [{targets!r}]")
    goals = [Goal.parse(target) for target in targets]
    resources = sorted({goal.resource for goal in goals})
    if len(resources) != 1:
        raise SBSError(f"targets: one front has one cost, not {', '.join(resources) or 'none'}")
    given = (compress.__kwdefaults__ or {}) | options | {"checkpoint": checkpoint}
    with own_random_states(cuda=given["device"] != "cpu"):
        first = Call.of(model, train_loader, goals[0], given)
        calls = [replace(first, goal=goal, folder=_folder(first.folder, goal)) for goal in goals]
        return Front(tuple(results_of(calls)))


def _folder(checkpoint: Path | None, goal: Goal) -> Path | None:
    name = str(goal).replace("/", "_").replace(" ", "_")
    return None if checkpoint is None else checkpoint / name
