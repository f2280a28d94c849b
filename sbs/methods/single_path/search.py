"""Single-path bit sharing: SBS, SBS-Q (without pruning) and SBS-P (without quantization)."""

from __future__ import annotations

from sbs.cost.expected import ExpectedCost
from sbs.errors import SBSError
from sbs.methods.context import SearchContext, SearchResult
from sbs.methods.single_path.landing import land
from sbs.methods.single_path.task import SearchTask, extract_policy, penalty_of
from sbs.policy import FULL_PRECISION, uniform_policy
from sbs.surgery.networks import plain_state
from sbs.surgery.search import SearchSpace, search_network


def search(context: SearchContext, *, quantize: bool, prune: bool) -> SearchResult:
    """Run Algorithm 1.

    Args:
        context: network, data and settings.
        quantize: search bitwidths.
        prune: search filter groups.
    """
    settings = context.settings
    if not settings.bit_sharing:
        raise SBSError("search.bit_sharing: only sbs_q can search without bit sharing; set true")
    target = context.target_cost()
    space = build_space(context, quantize=quantize, prune=prune)
    steps = settings.epochs * len(context.batches)
    cost_of = context.exact_cost()
    start = cost_of(extract_policy(space))
    task = SearchTask(
        space,
        ExpectedCost(
            space,
            context.shapes,
            settings.resource,
            propagate=settings.propagate,
            device=context.device,
        ),
        penalty_of(settings, start, target, steps, context.device),
        settings,
        steps,
    )
    progression = context.fit(task)
    policy = extract_policy(space) if target is None else land(space, target, cost_of)
    return SearchResult(policy, plain_state(space.model), target, progression, task.trajectory)


def build_space(context: SearchContext, *, quantize: bool, prune: bool) -> SearchSpace:
    """Search network on the context's device, with all gates open."""
    settings = context.settings
    highest = settings.bitwidths[-1] if quantize else FULL_PRECISION
    space = search_network(
        context.model,
        context.spec,
        uniform_policy(context.spec.name, context.layer_names, highest),
        bitwidths=settings.bitwidths if quantize else None,
        group_size=settings.group_size if prune else None,
        standardized=settings.pruning_metric == "standardized",
        placement=settings.pruning_gate,
    )
    space.model.to(context.device)
    return space
