"""What is asked for in a compression, checked before any training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from sbs.compression.arguments import Arguments
from sbs.compression.attributes import explaining_attributes
from sbs.compression.goal import Goal
from sbs.compression.scoring import Validation, accuracy
from sbs.compression.settings import (
    recipe_of,
    runtime_settings,
    search_settings,
)
from sbs.compression.subject import Subject, check_pairs
from sbs.config.scale import validated
from sbs.config.settings import RuntimeSettings, SearchSettings, check_precision
from sbs.cost.layers import uniform_policy_of
from sbs.cost.reach import Reach
from sbs.errors import SBSError
from sbs.policy import FULL_PRECISION, Bitwidths
from sbs.registry.methods import Method, method
from sbs.runtime.device import choose_device
from sbs.surgery.networks import quantized_network
from sbs.training.batch import Batch, size_of
from sbs.training.recipe import Recipe, cross_entropy

ENOUGH_STEPS = 100
"""With fewer steps, gates cannot follow the loss."""


@dataclass(frozen=True)
class Call:
    """A network, and what the caller wants of it.

    Attributes:
        subject: the network and its training batches.
        validation: what the networks are scored by.
        goal: what to aim at.
        arguments: the caller's other wishes.
        bitwidths: candidates.
        method: how to search.
        recipe: loss, optimizer and schedule.
        runtime: how to compute.
        folder: folder of the states; None: they are not kept.
    """

    subject: Subject
    validation: Validation
    goal: Goal
    arguments: Arguments
    bitwidths: Bitwidths
    method: Method
    recipe: Recipe
    runtime: RuntimeSettings
    folder: Path | None

    @classmethod
    def of(
        cls,
        model: nn.Module,
        train_loader: Iterable[Batch],
        goal: Goal,
        options: Mapping[str, Any],
    ) -> Call:
        """Check the arguments, and trace the network.

        Args:
            model: the network.
            train_loader: training batches.
            goal: what to aim at.
            options: all keyword arguments of :func:`sbs.compress`.

        Raises:
            SBSError: an argument is not valid, or see :meth:`sbs.compression.subject.Subject.of`.
        """
        given = validated(Arguments, options, "arguments")
        bitwidths = Bitwidths(given.bitwidths)
        chosen = _method(quantize=given.quantize, prune=given.prune)
        loss = explaining_attributes(given.loss, "loss", model)
        recipe = recipe_of(loss, given.optimizer, given.schedule)
        device = choose_device(given.device)
        default = given.loss is cross_entropy
        metric = given.metric or (accuracy if default else given.loss)
        metric = explaining_attributes(metric, "metric" if given.metric else "loss", model)
        validation = Validation(given.val_loader, device, metric)
        subject = Subject.of(model, train_loader, given.example_input, device, given.seed)
        if default:
            check_pairs(subject.batches.first_batch())
        return cls(
            subject,
            validation,
            goal,
            given,
            bitwidths,
            chosen,
            recipe,
            runtime_settings(given.device, given.precision),
            given.checkpoint,
        )

    @property
    def highest_bits(self) -> int:
        """Bitwidth at the start of the search."""
        return self.bitwidths.highest if self.method.bits else FULL_PRECISION

    def check(self) -> None:
        """Check what a search needs.

        Raises:
            SBSError: it is too short, the target is out of reach, or the numbers are too coarse.
        """
        steps = len(self.subject.batches)
        if self._search_epochs * steps < ENOUGH_STEPS:
            raise SBSError(
                f"search_epochs: {self._search_epochs} epochs of {steps} batches are too few for a "
                f"search, which needs {ENOUGH_STEPS} steps; give at least "
                f"{-(-ENOUGH_STEPS // steps)} epochs"
            )
        if self.method.bits:
            check_precision(self.runtime.precision, self.bitwidths, "bitwidths")
        self.reach().checked(self.goal.target)

    def full_score(self) -> float | None:
        """Score of the given network; None without validation batches.

        The metric is also tried on a network as surgery makes it.

        Raises:
            SBSError: the metric cannot score these networks.
        """
        if self.arguments.val_loader is None:
            return None
        subject = self.subject
        start = uniform_policy_of(subject.spec.name, subject.shapes, self.highest_bits)
        rebuilt = quantized_network(subject.network(), subject.spec, start)
        self.validation.check(rebuilt.to(subject.device))
        return self.validation.score(subject.network())

    @property
    def _search_epochs(self) -> int:
        given = self.arguments
        return given.epochs if given.search_epochs is None else given.search_epochs

    def settings(self) -> SearchSettings:
        """Settings of the search."""
        return search_settings(
            epochs=self._search_epochs,
            steps=len(self.subject.batches),
            items=size_of(self.subject.batches.first_batch()),
            learning_rate=self.arguments.learning_rate,
            bitwidths=self.bitwidths,
            group_size=self.arguments.group_size,
            resource=self.goal.resource,
            target=self.goal.target.text,
        )

    def lowest_bits(self) -> int:
        """Lowest bitwidth that the search can choose."""
        return self.method.lowest_bits({"search": self.settings().model_dump(mode="json")})

    def reach(self) -> Reach:
        """Costs that the search can reach."""
        subject = self.subject
        return Reach(
            subject.spec.name,
            subject.shapes,
            subject.spec.prunables(subject.plain),
            self.goal.resource,
            self.lowest_bits(),
            self.arguments.group_size if self.method.filters else None,
        )


def _method(*, quantize: bool, prune: bool) -> Method:
    names = {(True, True): "sbs", (True, False): "sbs_q", (False, True): "sbs_p"}
    if (quantize, prune) not in names:
        raise SBSError("quantize and prune are both false: there is nothing to search")
    return method(names[quantize, prune])
