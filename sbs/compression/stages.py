"""Both stages of a compression: the search, and the fine-tuning of what it found."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sbs.compression.call import Call
from sbs.compression.progress import StageReporter
from sbs.compression.result import Compressed
from sbs.compression.settings import finetune_settings
from sbs.compression.states import digest, states_folder
from sbs.methods.context import SearchContext, SearchResult
from sbs.provenance.code import source_digest
from sbs.runtime.seeding import derive_seed, seed_everything
from sbs.surgery.weights import with_state
from sbs.training.batch import mapped, size_of, tensors_of
from sbs.training.classification import Classification
from sbs.training.loop import fit
from sbs.training.state import Progression


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
    return [_run(call, full_score) for call in calls]


def _run(call: Call, full_score: float | None) -> Compressed:
    """Search and fine-tune."""
    subject = call.subject
    with states_folder(call.folder) as folder:
        found = _search(call, folder / "search")
        compressed, tuned = _finetune(call, found, folder / "finetune")
    return Compressed(
        compressed.eval(),
        found.policy,
        call.goal,
        call.reach().cost(call.goal.target),
        found.found or found.policy,
        found.landing_flips or 0,
        call.validation.score(compressed),
        full_score,
        {"search": found.progression.history, "finetune": tuned.history},
        subject.shapes,
        subject.spec.prunables(subject.plain),
        call.highest_bits,
        subject.example,
    )


def _search(call: Call, resume: Path) -> SearchResult:
    """Search the policy."""
    subject, settings = call.subject, call.settings()
    seed_everything(derive_seed(subject.seed, "weights"))
    context = SearchContext(
        method=call.method,
        spec=subject.spec,
        model=subject.network(),
        shapes=subject.shapes,
        make_batches=lambda size: subject.batches,
        settings=settings,
        sections={},
        lowest_bits=call.lowest_bits(),
        runtime=call.runtime,
        device=subject.device,
        seed=subject.seed,
        resume=resume,
        identity=_identity(call, settings.model_dump(mode="json")),
        reporter=_reporter(call, "search", call.arguments.epochs),
        image=tuple(tensors_of(subject.example)[0].shape[1:]),
        recipe=call.recipe,
    )
    result: SearchResult = call.method.load()(context)
    return result


def _finetune(call: Call, found: SearchResult, resume: Path) -> tuple[nn.Module, Progression]:
    """Train the network of the policy, from the searched weights."""
    subject, given = call.subject, call.arguments
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
        fit_by=lambda network: call.recipe.objective(network, batch),
    )
    model = model.to(memory_format=torch.channels_last).to(subject.device)
    progression = fit(
        Classification(model, settings, call.recipe),
        subject.batches,
        settings,
        call.runtime,
        device=subject.device,
        seed=subject.seed,
        resume=resume,
        identity=_identity(
            call,
            settings.model_dump(mode="json")
            | {"policy": found.policy.model_dump(mode="json"), "searched": digest(found.state)},
        ),
        reporter=_reporter(call, "finetune", 0),
        schedule=call.recipe.schedule,
    )
    return model, progression


def _identity(call: Call, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "network": digest(call.subject.plain.state_dict()),
        "method": call.method.name,
        "seed": call.subject.seed,
        "settings": dict(settings),
        "runtime": call.runtime.model_dump(mode="json"),
        "code": source_digest(__name__, call.method.module),
    }


def _reporter(call: Call, stage: str, later: int) -> StageReporter:
    title, given = call.subject.spec.name, call.arguments
    return StageReporter(title, stage, later, given.callbacks, verbose=given.verbose)
