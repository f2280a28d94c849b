"""SBS in two stages (section 5.2, Table 7): first one kind of gates, then the other.

The first search is SBS-P or SBS-Q. Its network trains on for a few epochs. The second search starts
from these weights; what the first has decided is held. The epochs of all three together are those
of a search in one stage.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from sbs.config.settings import SearchSettings
from sbs.config.target import Target
from sbs.errors import SBSError
from sbs.methods.context import SearchContext, SearchResult
from sbs.methods.single_path import TwoStageSettings
from sbs.methods.single_path.search import build_space, search_in
from sbs.policy import Policy
from sbs.registry.methods import method
from sbs.runtime import checkpoints
from sbs.surgery.networks import plain_state, split_intervals
from sbs.surgery.search import SearchSpace
from sbs.training.classification import Classification
from sbs.training.state import Progression

PRUNE_FIRST = "prune-first"


def search(context: SearchContext) -> SearchResult:
    """Search one kind of gates, fine-tune, and search the other kind.

    Raises:
        SBSError: there is no target, or too few epochs for two searches.
    """
    own = context.section(TwoStageSettings)
    target = context.target_cost()
    if target is None:
        raise SBSError("search.target: a search in two stages needs a target; give one")
    cost_of, prune_first = context.exact_cost(), context.settings.stages == PRUNE_FIRST
    plain = copy.deepcopy(context.model)
    of_first, of_second = _epochs(context.settings, own)

    one = _first_context(context, own, target, of_first)
    first_target = one.target_cost()
    space = build_space(one, quantize=not prune_first, prune=prune_first)
    first = search_in(one, space, first_target, cost_of)
    between = _finetuned(context, space, first.policy, own.finetune_epochs)

    changes = {"epochs": of_second}
    two = replace(
        context,
        model=plain,
        settings=context.settings.model_copy(update=changes),
        resume=context.resume / "second",
    )
    space = _second_space(two, plain_state(space.model))
    (space.freeze_filters if prune_first else space.freeze_bits)(first.policy)
    second = search_in(two, space, target, cost_of)
    return _joined(first, between, second)


def _epochs(settings: SearchSettings, own: TwoStageSettings) -> tuple[int, int]:
    """Epochs of the two searches."""
    both = settings.epochs - own.finetune_epochs
    first = round(own.first_share * both)
    if not 0 < first < both:
        raise SBSError(
            f"search.epochs: {settings.epochs} epochs, of which two_stage.finetune_epochs takes "
            f"{own.finetune_epochs}, are too few for two searches; give more"
        )
    return first, both - first


def _first_context(
    context: SearchContext, own: TwoStageSettings, target: float, epochs: int
) -> SearchContext:
    """The first search, with its share of the target."""
    if context.settings.stages == PRUNE_FIRST:
        name, part = "sbs_p", Target.parse(f"{own.pruning_factor} x full")
    else:
        name, part = "sbs_q", Target.parse(target / own.pruning_factor)
    chosen = method(name)
    return replace(
        context,
        method=chosen,
        lowest_bits=chosen.lowest_bits({"search": context.settings.model_dump(mode="json")}),
        settings=context.settings.model_copy(update={"epochs": epochs, "target": part}),
        resume=context.resume / "first",
    )


def _finetuned(
    context: SearchContext, space: SearchSpace, policy: Policy, epochs: int
) -> Progression:
    """Train the network of the first search at its policy."""
    space.freeze(policy)
    settings = context.settings.model_copy(update={"epochs": epochs})
    between = replace(context, resume=context.resume / "between")
    return between.fit(Classification(space.model, settings, context.recipe), settings)


def _second_space(context: SearchContext, state: dict[str, Tensor]) -> SearchSpace:
    """The network of the second search, with the weights and intervals of the first."""
    weights, intervals = split_intervals(state)
    checkpoints.load_into(context.model, weights, "the first search")
    space = build_space(context, quantize=True, prune=True)
    if context.settings.stages != PRUNE_FIRST:  # unquantized layers have trained no intervals
        space.model.load_state_dict(intervals, strict=False)
    return space


def _joined(first: SearchResult, between: Progression, second: SearchResult) -> SearchResult:
    """The result of the second search, with the course of both."""
    parts = (first.progression, between, second.progression)
    last = first.trajectory[-1]["iteration"] if first.trajectory else 0
    later = [point | {"iteration": point["iteration"] + last + 1} for point in second.trajectory]
    assert first.landing_flips is not None
    assert second.landing_flips is not None
    return replace(
        second,
        progression=_sum(parts),
        trajectory=[*first.trajectory, *later],
        landing_flips=first.landing_flips + second.landing_flips,
    )


def _sum(parts: Sequence[Progression]) -> Progression:
    entries: list[dict[str, Any]] = [entry for part in parts for entry in part.history]
    history = [entry | {"epoch": number} for number, entry in enumerate(entries, 1)]
    return Progression(
        epoch=len(history),
        seconds=sum(part.seconds for part in parts),
        interruptions=max(part.interruptions for part in parts),
        history=history,
    )
