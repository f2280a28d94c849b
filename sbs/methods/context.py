"""Input and result of a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from sbs.config.settings import RuntimeSettings, SearchSettings, TrainSettings
from sbs.cost.exact import policy_cost
from sbs.cost.layers import LayerShape, uniform_policy_of
from sbs.cost.reach import Reach
from sbs.data.interface import TrainingBatches
from sbs.errors import SBSError
from sbs.networks import NetworkSpec
from sbs.policy import Policy
from sbs.registry.methods import Method
from sbs.runtime.progress import Reporter
from sbs.surgery.intervals import InputSample, sample_inputs_of
from sbs.training.batch import Batch
from sbs.training.loop import Batches, Task, fit
from sbs.training.recipe import Recipe
from sbs.training.state import Progression

S = TypeVar("S", bound=BaseModel)


class SearchBatches(Batches, Protocol):
    """Training batches of a search."""

    def first_batch(self) -> Batch:
        """The first batch, for instance to fit intervals on."""
        ...


@dataclass(frozen=True)
class SearchContext:
    """Everything that a search can use.

    Attributes:
        method: the registered method.
        spec: description of the network.
        model: the pretrained network M0, plain, on the device; the method can modify it.
        shapes: shapes of its layers, in forward order.
        make_batches: (batch size) -> training batches.
        settings: the search section of the scale.
        sections: the method's own sections.
        lowest_bits: lowest bitwidth that the method can give a layer.
        runtime: precision and memory format.
        device: device to compute on.
        seed: seed of all random choices.
        resume: folder of the state of an unfinished search.
        identity: digests of everything that decides the result.
        reporter: writes the progress.
        image: shape (C, H, W) of an image.
        recipe: loss, optimizer and schedule of the weights.
    """

    method: Method
    spec: NetworkSpec
    model: nn.Module
    shapes: tuple[LayerShape, ...]
    make_batches: Callable[[int], SearchBatches]
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
    recipe: Recipe = field(default_factory=Recipe)

    @cached_property
    def batches(self) -> SearchBatches:
        """Training batches with the batch size of the search."""
        return self.make_batches(self.settings.batch_size)

    @property
    def image_batches(self) -> TrainingBatches:
        """The same, of a dataset that can be divided.

        Raises:
            SBSError: they come from a data loader.
        """
        if not isinstance(self.batches, TrainingBatches):
            raise SBSError(f"{self.method.label} divides the training images; give it a dataset")
        return self.batches

    def sampled_inputs(self) -> dict[str, InputSample]:
        """A sample of each layer's input in the plain network, from the first batch."""
        batch = self.batches.first_batch()
        return sample_inputs_of(self.model, lambda twin: self.recipe.objective(twin, batch))

    def section(self, kind: type[S]) -> S:
        """The method's own section of type ``kind``.

        Raises:
            SBSError: the settings have no such section.
        """
        found = next((one for one in self.sections.values() if isinstance(one, kind)), None)
        if found is None:
            raise SBSError(f"--settings: missing section of {kind.__name__}")
        return found

    @property
    def layer_names(self) -> list[str]:
        """Names of the convolutions and linear layers, in forward order."""
        return [shape.name for shape in self.shapes]

    @property
    def inner_names(self) -> list[str]:
        """Those of the layers whose bitwidths can be chosen: all but the first and the last."""
        return [shape.name for shape in self.shapes if not shape.end]

    def uniform_policy(self, bits: int) -> Policy:
        """The same bitwidth in all of these; 8 bits in the others."""
        return uniform_policy_of(self.spec.name, self.shapes, bits)

    def fit(
        self, task: Task, settings: TrainSettings | None = None, batches: Batches | None = None
    ) -> Progression:
        """Train a task of the search, or resume it.

        Args:
            task: task to train.
            settings: training settings; default: those of the search.
            batches: training batches; default: all training images.
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
            schedule=self.recipe.schedule,
        )

    def exact_cost(self) -> Callable[[Policy], float]:
        """Function of a policy: its exact cost in the search's resource. Call before surgery."""
        prunables = self.spec.prunables(self.model)

        def cost_of(policy: Policy) -> float:
            return policy_cost(self.shapes, prunables, policy, self.settings.resource)

        return cost_of

    def target_cost(self) -> float | None:
        """The target cost, in the unit of the resource; None if λ is fixed. Call before surgery.

        Raises:
            SBSError: the method cannot reach this cost.
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
    """The policy of a search, and how it was found.

    Attributes:
        policy: the policy.
        state: unpruned weights (and intervals, if there are any) at the end of the search.
        target: target cost, or None.
        progression: time and history.
        trajectory: the gates during the search.
        found: what the search itself found, before a landing step; None if there is no such step.
        found_cost: its cost in the searched resource.
        landing_flips: number of decisions that the landing step changed.
        open_shares: how often the gates were open when the search chose, by kind and layer.
    """

    policy: Policy
    state: dict[str, Tensor]
    target: float | None = None
    progression: Progression = field(default_factory=Progression)
    trajectory: list[dict[str, Any]] = field(default_factory=list)
    found: Policy | None = None
    found_cost: float | None = None
    landing_flips: int | None = None
    open_shares: dict[str, dict[str, list[float]]] | None = None
