"""What a method gets, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from sbs.config.settings import (
    DQSettings,
    HAQSettings,
    MultipathSettings,
    RuntimeSettings,
    SearchSettings,
    TrainSettings,
)
from sbs.config.target import parse_target
from sbs.cost import LayerShape, policy_cost
from sbs.data import TrainBatches
from sbs.errors import SBSError
from sbs.networks import NetworkSpec
from sbs.policy import Policy, uniform_policy
from sbs.runtime.progress import Reporter
from sbs.training.loop import Batches, Progression, Task, fit


@dataclass(frozen=True)
class SearchContext:
    """Everything that a search may use.

    Attributes:
        spec: the network's description.
        model: the pretrained network M0, plain, on the device; the method may take it apart.
        shapes: its layers, in forward order.
        batches: training images.
        settings: the search section of the scale.
        runtime: precision and memory format.
        device: where to compute.
        seed: seed of everything random.
        resume: folder for the state of a search in progress.
        identity: digests of all that decides the result.
        reporter: where progress goes.
        image: (C, H, W) of an image.
        multipath: the section of multi-path methods, for those.
        dq: the section of DQ, for it.
        haq: the section of HAQ, for it.
    """

    spec: NetworkSpec
    model: nn.Module
    shapes: tuple[LayerShape, ...]
    batches: TrainBatches
    settings: SearchSettings
    runtime: RuntimeSettings
    device: torch.device
    seed: int
    resume: Path
    identity: dict[str, Any]
    reporter: Reporter
    image: tuple[int, ...]
    multipath: MultipathSettings | None = None
    dq: DQSettings | None = None
    haq: HAQSettings | None = None

    def with_settings(self, settings: SearchSettings) -> SearchContext:
        """The same with other search settings."""
        return replace(self, settings=settings)

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
            batches or self.batches,
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
        """The cost to land on, in the unit of the resource; None if λ is fixed."""
        if self.settings.target is None:
            return None
        target = parse_target(self.settings.target)
        if target.reference_bits is None:
            return target.factor
        reference = uniform_policy(self.spec.name, self.layer_names, target.reference_bits)
        return target.factor * self.exact_cost()(reference)

    def reachable_target(self, lowest_bits: int) -> float | None:
        """:meth:`target_cost`, which bitwidths alone can reach.

        Args:
            lowest_bits: smallest bitwidth of a searched layer.

        Raises:
            SBSError: the lowest bits everywhere cost more.
        """
        target = self.target_cost()
        cheapest = uniform_policy(self.spec.name, self.layer_names, lowest_bits)
        if target is not None and (cost := self.exact_cost()(cheapest)) > target:
            raise SBSError(
                f"search.target: {self.settings.target!r} is {target:.4g} in "
                f"{self.settings.resource}, but {self.spec.name} with {lowest_bits} bits in every "
                f"searched layer takes {cost:.4g}; give a larger target"
            )
        return target


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


SearchMethod: TypeAlias = Callable[[SearchContext], SearchResult]
