"""What a search gets, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from sbs.config.settings import RuntimeSettings, SearchSettings, TrainSettings
from sbs.cost.exact import policy_cost
from sbs.cost.layers import LayerShape
from sbs.cost.reach import Reach
from sbs.data.batches import TrainBatches
from sbs.errors import SBSError
from sbs.networks import NetworkSpec
from sbs.policy import Policy
from sbs.registry.methods import Method
from sbs.runtime.progress import Reporter
from sbs.training.loop import Batches, Task, fit
from sbs.training.state import Progression

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True)
class SearchContext:
    """Everything that a search may use.

    Attributes:
        method: facts of the method.
        spec: the network's description.
        model: the pretrained network M0, plain, on the device; the method may take it apart.
        shapes: its layers, in forward order.
        make_batches: training images in batches of a size.
        settings: the search section of the scale.
        sections: the method's own sections.
        lowest_bits: smallest bitwidth that the method may give a layer.
        runtime: precision and memory format.
        device: where to compute.
        seed: seed of everything random.
        resume: folder for the state of a search in progress.
        identity: digests of all that decides the result.
        reporter: where progress goes.
        image: (C, H, W) of an image.
    """

    method: Method
    spec: NetworkSpec
    model: nn.Module
    shapes: tuple[LayerShape, ...]
    make_batches: Callable[[int], TrainBatches]
    settings: SearchSettings
    sections: Mapping[str, BaseModel]
    lowest_bits: int
    runtime: RuntimeSettings
    device: torch.device
    seed: int
    resume: Path
    identity: dict[str, Any]
    reporter: Reporter
    image: tuple[int, ...]

    @cached_property
    def batches(self) -> TrainBatches:
        """Training images in batches of the search."""
        return self.make_batches(self.settings.batch_size)

    def section(self, kind: type[S]) -> S:
        """The method's own section of a type.

        Raises:
            SBSError: the settings have none.
        """
        found = next((one for one in self.sections.values() if isinstance(one, kind)), None)
        if found is None:
            raise SBSError(f"--settings: missing section of {kind.__name__}")
        return found

    @property
    def layer_names(self) -> list[str]:
        """Convolutions and linear layers in forward order."""
        return [shape.name for shape in self.shapes]

    def fit(
        self, task: Task, settings: TrainSettings | None = None, batches: Batches | None = None
    ) -> Progression:
        """Train a task of the search, or go on with it.

        Args:
            task: what to train.
            settings: schedule, by default that of the search.
            batches: images, by default all training images.
        """
        return fit(
            task,
            self.batches if batches is None else batches,
            settings or self.settings,
            self.runtime,
            device=self.device,
            seed=self.seed,
            resume=self.resume,
            identity=self.identity,
            reporter=self.reporter,
        )

    def exact_cost(self) -> Callable[[Policy], float]:
        """Exact cost of a policy in the resource of the search; ask before surgery."""
        prunables = self.spec.prunables(self.model)

        def cost_of(policy: Policy) -> float:
            return policy_cost(self.shapes, prunables, policy, self.settings.resource)

        return cost_of

    def target_cost(self) -> float | None:
        """The cost to land on, in the unit of the resource; None if λ is fixed. Before surgery.

        Raises:
            SBSError: the method cannot get the network so small.
        """
        if self.settings.target is None:
            return None
        reach = Reach(
            self.spec.name,
            self.shapes,
            self.spec.prunables(self.model),
            self.settings.resource,
            self.lowest_bits,
            self.settings.group_size if self.method.filters else None,
        )
        return reach.checked(self.settings.target)


@dataclass(frozen=True)
class SearchResult:
    """The policy, and what finding it took.

    Attributes:
        policy: what was found.
        state: weights (and intervals, if the method has any) at the end, unpruned.
        target: the cost that was asked for, or None.
        progression: time and history.
        trajectory: where the gates were during the search.
    """

    policy: Policy
    state: dict[str, Tensor]
    target: float | None = None
    progression: Progression = field(default_factory=Progression)
    trajectory: list[dict[str, Any]] = field(default_factory=list)
