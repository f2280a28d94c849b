"""One compression: everything that is asked for, checked before any training; then both stages."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sbs.compression.arguments import Arguments
from sbs.compression.attributes import explaining_attributes
from sbs.compression.goal import Goal
from sbs.compression.progress import StageReporter
from sbs.compression.result import Compressed
from sbs.compression.scoring import Validation, accuracy
from sbs.compression.settings import (
    finetune_settings,
    recipe_of,
    runtime_settings,
    search_settings,
)
from sbs.compression.states import digest, states_folder
from sbs.compression.subject import Subject, check_pairs
from sbs.config.scale import validated
from sbs.config.settings import RuntimeSettings, SearchSettings, check_precision
from sbs.cost.layers import uniform_policy_of
from sbs.cost.reach import Reach
from sbs.errors import SBSError
from sbs.methods.context import SearchContext, SearchResult
from sbs.policy import FULL_PRECISION, Bitwidths
from sbs.provenance.code import source_digest
from sbs.registry.methods import Method, method
from sbs.runtime.device import choose_device
from sbs.runtime.seeding import derive_seed, seed_everything
from sbs.surgery.networks import quantized_network
from sbs.surgery.weights import with_state
from sbs.training.batch import Batch, mapped, size_of, tensors_of
from sbs.training.classification import Classification
from sbs.training.loop import fit
from sbs.training.recipe import Recipe, cross_entropy
from sbs.training.state import Progression

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
        self._reach().checked(self.goal.target)

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

    def run(self, full_score: float | None) -> Compressed:
        """Search and fine-tune.

        Args:
            full_score: score of the given network.
        """
        subject = self.subject
        with states_folder(self.folder) as folder:
            found = self._search(folder / "search")
            compressed, tuned = self._finetune(found, folder / "finetune")
        return Compressed(
            compressed.eval(),
            found.policy,
            self.goal,
            self._reach().cost(self.goal.target),
            found.found or found.policy,
            found.landing_flips or 0,
            self.validation.score(compressed),
            full_score,
            {"search": found.progression.history, "finetune": tuned.history},
            subject.shapes,
            subject.spec.prunables(subject.plain),
            self.highest_bits,
            subject.example,
        )

    @property
    def _search_epochs(self) -> int:
        given = self.arguments
        return given.epochs if given.search_epochs is None else given.search_epochs

    def _search_settings(self) -> SearchSettings:
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

    def _lowest_bits(self, settings: SearchSettings) -> int:
        return self.method.lowest_bits({"search": settings.model_dump(mode="json")})

    def _reach(self) -> Reach:
        subject = self.subject
        return Reach(
            subject.spec.name,
            subject.shapes,
            subject.spec.prunables(subject.plain),
            self.goal.resource,
            self._lowest_bits(self._search_settings()),
            self.arguments.group_size if self.method.filters else None,
        )

    def _search(self, resume: Path) -> SearchResult:
        """Search the policy."""
        subject, settings = self.subject, self._search_settings()
        seed_everything(derive_seed(subject.seed, "weights"))
        context = SearchContext(
            method=self.method,
            spec=subject.spec,
            model=subject.network(),
            shapes=subject.shapes,
            make_batches=lambda size: subject.batches,
            settings=settings,
            sections={},
            lowest_bits=self._lowest_bits(settings),
            runtime=self.runtime,
            device=subject.device,
            seed=subject.seed,
            resume=resume,
            identity=self._identity(settings.model_dump(mode="json")),
            reporter=self._reporter("search", self.arguments.epochs),
            image=tuple(tensors_of(subject.example)[0].shape[1:]),
            recipe=self.recipe,
        )
        result: SearchResult = self.method.load()(context)
        return result

    def _finetune(self, found: SearchResult, resume: Path) -> tuple[nn.Module, Progression]:
        """Train the network of the policy, from the searched weights."""
        subject, given = self.subject, self.arguments
        items = size_of(subject.batches.first_batch())
        settings = finetune_settings(given.epochs, items, given.learning_rate)
        batch = mapped(subject.batches.first_batch(), lambda tensor: tensor.cpu())
        plain = copy.deepcopy(subject.plain)
        model = with_state(
            plain,
            subject.spec,
            found.policy,
            plain.state_dict() | found.state,  # parts that no forward pass uses are not searched
            "the search",
            fit_by=lambda network: self.recipe.objective(network, batch),
        )
        model = model.to(memory_format=torch.channels_last).to(subject.device)
        progression = fit(
            Classification(model, settings, self.recipe),
            subject.batches,
            settings,
            self.runtime,
            device=subject.device,
            seed=subject.seed,
            resume=resume,
            identity=self._identity(
                settings.model_dump(mode="json")
                | {"policy": found.policy.model_dump(mode="json"), "searched": digest(found.state)}
            ),
            reporter=self._reporter("finetune", 0),
            schedule=self.recipe.schedule,
        )
        return model, progression

    def _identity(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "network": digest(self.subject.plain.state_dict()),
            "method": self.method.name,
            "seed": self.subject.seed,
            "settings": dict(settings),
            "runtime": self.runtime.model_dump(mode="json"),
            "code": source_digest(__name__, self.method.module),
        }

    def _reporter(self, stage: str, later: int) -> StageReporter:
        title, given = self.subject.spec.name, self.arguments
        return StageReporter(title, stage, later, given.callbacks, verbose=given.verbose)


def results_of(calls: Sequence[Call]) -> list[Compressed]:
    """Compress a network to several goals; whatever can be wrong is found before any training.

    Args:
        calls: they differ in the goal, and in the folder of the states.

    Raises:
        SBSError: a call cannot be met.
    """
    for call in calls:
        call.check()
    full_score = calls[0].full_score()
    return [call.run(full_score) for call in calls]


def _method(*, quantize: bool, prune: bool) -> Method:
    names = {(True, True): "sbs", (True, False): "sbs_q", (False, True): "sbs_p"}
    if (quantize, prune) not in names:
        raise SBSError("quantize and prune are both false: there is nothing to search")
    return method(names[quantize, prune])
