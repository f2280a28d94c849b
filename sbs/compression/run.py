"""The one call: search a policy for a network, and fine-tune the compressed network."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sbs.compression.goal import Goal
from sbs.compression.progress import Callback, StageReporter
from sbs.compression.result import Compressed
from sbs.compression.scoring import Metric, accuracy, mean_score
from sbs.compression.settings import (
    UserOptimizer,
    UserSchedule,
    finetune_settings,
    recipe_of,
    runtime_settings,
    search_settings,
)
from sbs.compression.subject import Subject, check_pairs
from sbs.config.settings import RuntimeSettings, check_precision
from sbs.errors import SBSError
from sbs.methods.context import SearchContext, SearchResult
from sbs.policy import FULL_PRECISION, Bitwidths
from sbs.provenance.code import source_digest
from sbs.registry.methods import Method, method
from sbs.runtime.device import choose_device
from sbs.runtime.seeding import derive_seed, seed_everything
from sbs.surgery.weights import with_state
from sbs.training.batch import Batch, mapped, size_of
from sbs.training.classification import Classification
from sbs.training.loop import fit
from sbs.training.recipe import Objective, Recipe, cross_entropy
from sbs.training.state import Progression

ENOUGH_STEPS = 100
"""With fewer steps, gates cannot follow the loss."""


def compress(
    model: nn.Module,
    train_loader: Iterable[Batch],
    target: str | float = "4-bit",
    *,
    loss: Objective = cross_entropy,
    val_loader: Iterable[Batch] | None = None,
    metric: Metric | None = None,
    example_input: Tensor | tuple[Any, ...] | None = None,
    epochs: int = 10,
    search_epochs: int | None = None,
    learning_rate: float = 0.02,
    optimizer: UserOptimizer | None = None,
    schedule: UserSchedule = "cosine",
    quantize: bool = True,
    prune: bool = True,
    bitwidths: Sequence[int] = (2, 4, 8),
    group_size: int = 4,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    checkpoint: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    verbose: bool = True,
) -> Compressed:
    """Compress a trained network: search bitwidths and filters, then fine-tune (Algorithm 1).

    Args:
        model: the trained network; not changed. :func:`sbs.inspect` says what of it can be
            compressed.
        train_loader: batches, whenever it is iterated; pairs of inputs and labels for the default
            loss.
        target: the cost to reach, see :meth:`sbs.compression.goal.Goal.parse`: ``"4-bit"``, a share
            such as 0.1, ``"630.6 M"`` bit operations, ``"memory: 200 KB"``, ``"latency: 20 ms"``.
        loss: (network, batch) -> mean loss of the batch.
        val_loader: batches to score the networks on.
        metric: (network, batch) -> mean score of the batch; default: accuracy in percent for the
            default loss, else the loss.
        example_input: input of the network for one item, a tensor (1, ...) or a tuple of its
            arguments; default: the first item of the first batch.
        epochs: epochs of the fine-tuning.
        search_epochs: epochs of the search; default: as many.
        learning_rate: of SGD with momentum, in both stages; without meaning if ``optimizer`` is
            given.
        optimizer: parameters -> optimizer of weights and intervals. Thresholds have their own.
        schedule: ``"cosine"``, ``"constant"``, or a function from the share of a stage that is over
            to the factor of the learning rate.
        quantize: whether to search bitwidths.
        prune: whether to search filters.
        bitwidths: candidates; each is a multiple of the one before.
        group_size: filters per pruning group.
        seed: of all random choices.
        device: auto: CUDA if there is one.
        precision: bf16: autocast.
        checkpoint: folder for the state after each epoch. The same call resumes there, and a
            finished one returns its result at once. Data, loss and optimizer cannot be compared:
            use another folder when they change.
        callbacks: called after each epoch with a :class:`sbs.compression.progress.EpochEnd`.
        verbose: write a line per epoch to standard error.

    Returns:
        The compressed network, its policy, and what was measured.

    Raises:
        SBSError: the target is out of reach, nothing of the network can be compressed, or an
            argument is not valid.

    Example:
        >>> import sbs, torch
        >>> from sklearn.datasets import load_digits
        >>> digits, _ = load_digits(), torch.manual_seed(0)
        >>> images = torch.tensor(digits.images, dtype=torch.float32)[:640, None] / 16
        >>> labels = torch.tensor(digits.target)[:640]
        >>> model = torch.nn.Sequential(  # best trained before
        ...     torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3),
        ...     torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(128, 10),
        ... )
        >>> batches = list(zip(images.split(32), labels.split(32)))
        >>> result = sbs.compress(
        ...     model, batches, "4-bit", search_epochs=5, epochs=1, verbose=False
        ... )
        >>> result.cost() < result.full_cost() / 30
        True
    """
    subject = Subject.of(model, train_loader, example_input, choose_device(device), seed)
    if loss is cross_entropy:
        check_pairs(subject.batches.first_batch())
    call = _Call(
        subject,
        Goal.parse(target),
        recipe_of(loss, optimizer, schedule),
        runtime_settings(device, precision),
        Bitwidths(bitwidths),
        group_size,
        _method(quantize=quantize, prune=prune),
        learning_rate,
        epochs if search_epochs is None else search_epochs,
        epochs,
        callbacks,
        verbose,
    )
    score = partial(mean_score, metric=metric or (accuracy if loss is cross_entropy else loss))
    with _folder(checkpoint) as folder:
        found = call.search(folder / "search")
        compressed, tuned = call.finetune(found, folder / "finetune")
    return Compressed(
        compressed.eval(),
        found.policy,
        call.goal,
        found.found or found.policy,
        found.landing_flips or 0,
        score(compressed, val_loader, subject.device),
        score(subject.network(), val_loader, subject.device),
        {"search": found.progression.history, "finetune": tuned.history},
        subject.shapes,
        subject.spec.prunables(subject.plain),
        call.bitwidths.highest if call.method.bits else FULL_PRECISION,
        subject.example,
    )


@dataclass(frozen=True)
class _Call:
    """A network, and what the caller wants of it."""

    subject: Subject
    goal: Goal
    recipe: Recipe
    runtime: RuntimeSettings
    bitwidths: Bitwidths
    group_size: int
    method: Method
    learning_rate: float
    search_epochs: int
    epochs: int
    callbacks: Sequence[Callback]
    verbose: bool

    def search(self, resume: Path) -> SearchResult:
        """Search the policy."""
        subject = self.subject
        steps = len(subject.batches)
        if self.search_epochs * steps < ENOUGH_STEPS:
            raise SBSError(
                f"search_epochs: {self.search_epochs} epochs of {steps} batches are too few for a "
                f"search, which needs {ENOUGH_STEPS} steps; give at least "
                f"{-(-ENOUGH_STEPS // steps)} epochs"
            )
        if self.method.bits:
            check_precision(self.runtime.precision, self.bitwidths, "bitwidths")
        settings = search_settings(
            epochs=self.search_epochs,
            steps=steps,
            items=size_of(subject.batches.first_batch()),
            learning_rate=self.learning_rate,
            bitwidths=self.bitwidths,
            group_size=self.group_size,
            resource=self.goal.resource,
            target=self.goal.target.text,
        )
        seed_everything(derive_seed(subject.seed, "weights"))
        context = SearchContext(
            method=self.method,
            spec=subject.spec,
            model=subject.network(),
            shapes=subject.shapes,
            make_batches=lambda size: subject.batches,
            settings=settings,
            sections={},
            lowest_bits=self.method.lowest_bits({"search": settings.model_dump(mode="json")}),
            runtime=self.runtime,
            device=subject.device,
            seed=subject.seed,
            resume=resume,
            identity=self._identity(settings.model_dump(mode="json")),
            reporter=self._reporter("search", self.epochs),
            image=tuple(subject.example[0].shape[1:]),
            recipe=self.recipe,
        )
        result: SearchResult = self.method.load()(context)
        return result

    def finetune(self, found: SearchResult, resume: Path) -> tuple[nn.Module, Progression]:
        """Train the network of the policy, from the searched weights."""
        subject = self.subject
        items = size_of(subject.batches.first_batch())
        settings = finetune_settings(self.epochs, items, self.learning_rate)
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
                | {"policy": found.policy.model_dump(mode="json"), "searched": _digest(found.state)}
            ),
            reporter=self._reporter("finetune", 0),
            schedule=self.recipe.schedule,
        )
        return model, progression

    def _identity(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "network": _digest(self.subject.plain.state_dict()),
            "method": self.method.name,
            "seed": self.subject.seed,
            "settings": dict(settings),
            "runtime": self.runtime.model_dump(mode="json"),
            "code": source_digest(__name__, self.method.module),
        }

    def _reporter(self, stage: str, later: int) -> StageReporter:
        title = self.subject.spec.name
        return StageReporter(title, stage, later, self.callbacks, verbose=self.verbose)


def _method(*, quantize: bool, prune: bool) -> Method:
    names = {(True, True): "sbs", (True, False): "sbs_q", (False, True): "sbs_p"}
    if (quantize, prune) not in names:
        raise SBSError("quantize and prune are both false: there is nothing to search")
    return method(names[quantize, prune])


def _digest(state: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name, value in state.items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


@contextmanager
def _folder(checkpoint: str | Path | None) -> Iterator[Path]:
    """The folder of the states; without one that stays, a temporary one."""
    if checkpoint is not None:
        yield Path(checkpoint)
        return
    with TemporaryDirectory(prefix="sbs-") as folder:
        yield Path(folder)
