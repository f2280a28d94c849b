"""Single-path bit sharing: SBS, SBS-Q (no pruning) and SBS-P (no quantization)."""

from __future__ import annotations

from collections.abc import Callable

from sbs.cost import policy_cost
from sbs.cost.expected import ExpectedCost
from sbs.engine import fit
from sbs.landing import land
from sbs.methods.context import SearchContext, SearchResult
from sbs.policy import FULL_PRECISION, Policy, uniform_policy
from sbs.search import SearchTask, extract_policy, penalty_of
from sbs.surgery import SearchSpace, plain_state, search_network
from sbs.target import parse_target


def search(context: SearchContext, *, quantize: bool, prune: bool) -> SearchResult:
    """Algorithm 1.

    Args:
        context: network, data and settings.
        quantize: search bitwidths.
        prune: search filter groups.
    """
    settings = context.settings
    space = build_space(context, quantize=quantize, prune=prune)
    steps = settings.epochs * len(context.batches)
    cost_of = exact_cost(context)
    target = target_cost(context)
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
    progression = fit(
        task,
        context.batches,
        settings,
        context.runtime,
        device=context.device,
        seed=context.seed,
        resume=context.resume,
        identity=context.identity,
        reporter=context.reporter,
    )
    policy = extract_policy(space) if target is None else land(space, target, cost_of)
    return SearchResult(policy, plain_state(space.model), target, progression, task.trajectory)


def build_space(context: SearchContext, *, quantize: bool, prune: bool) -> SearchSpace:
    """The search network on the context's device, all gates open."""
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


def exact_cost(context: SearchContext) -> Callable[[Policy], float]:
    """Exact cost of a policy in the resource of the search."""
    prunables = context.spec.prunables(context.model)

    def cost_of(policy: Policy) -> float:
        return policy_cost(context.shapes, prunables, policy, context.settings.resource)

    return cost_of


def target_cost(context: SearchContext) -> float | None:
    """The cost to land on, in the unit of the resource; None if λ is fixed."""
    if context.settings.target is None:
        return None
    target = parse_target(context.settings.target)
    if target.reference_bits is None:
        return target.factor
    reference = uniform_policy(context.spec.name, context.layer_names, target.reference_bits)
    return target.factor * exact_cost(context)(reference)
