"""Single-path bit sharing: SBS, SBS-Q (without pruning) and SBS-P (without quantization)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sbs.cost.expected import expected_cost
from sbs.errors import SBSError
from sbs.methods.context import SearchContext, SearchResult
from sbs.methods.single_path.landing import Landing, land
from sbs.methods.single_path.task import GateCost, SearchTask, penalty_of
from sbs.policy import FULL_PRECISION, Policy
from sbs.registry.costs import cost_model
from sbs.surgery.intervals import fit_intervals
from sbs.surgery.networks import plain_state
from sbs.surgery.search import GateState, SearchSpace, search_network


def search(
    context: SearchContext, *, quantize: bool, prune: bool, loss_aware: bool = True
) -> SearchResult:
    """Run Algorithm 1.

    Args:
        context: network, data and settings.
        quantize: search bitwidths.
        prune: search filter groups.
        loss_aware: let the loss move the thresholds, not the cost alone.
    """
    if not context.settings.bit_sharing:
        raise SBSError("search.bit_sharing: only sbs_q can search without bit sharing; set true")
    if context.settings.stages != "one":
        raise SBSError("search.stages: only sbs can search in two stages; set one")
    target, cost_of = context.target_cost(), context.exact_cost()
    space = build_space(context, quantize=quantize, prune=prune)
    for gate in space.gates():
        gate.loss_aware = loss_aware
    return search_in(context, space, target, cost_of)


def search_in(
    context: SearchContext,
    space: SearchSpace,
    target: float | None,
    cost_of: Callable[[Policy], float],
) -> SearchResult:
    """Search the gates of a network that are not frozen, and land on the target.

    Args:
        context: data and settings.
        space: network of :func:`build_space`.
        target: maximum cost, or None for a fixed λ.
        cost_of: exact cost of a policy.
    """
    settings = context.settings
    steps = settings.epochs * len(context.batches)
    start = cost_of(space.policy_of(space.state()))
    cost = expected_cost(
        space,
        context.shapes,
        settings.resource,
        propagate=settings.propagate,
        device=context.device,
    )
    penalty = penalty_of(settings, start, target, steps, context.device)
    exact: GateCost = cost
    if not cost_model(settings.resource).closed_form:
        exact = _exact(space, cost_of, context.device)
    task = SearchTask(space, cost, exact, penalty, settings, steps, context.recipe)
    progression = context.fit(task)
    found = task.shares.policy()
    landing = Landing(found, 0) if target is None else land(task.shares, target, cost_of)
    return SearchResult(
        landing.policy,
        plain_state(space.model),
        target,
        progression,
        task.trajectory,
        found=found,
        found_cost=cost_of(found),
        landing_flips=landing.flips,
        open_shares=task.shares.by_layer(),
    )


def _exact(
    space: SearchSpace, cost_of: Callable[[Policy], float], device: torch.device
) -> GateCost:
    """Exact cost of decided gates, for a cost that the search only interpolates."""

    def exact(state: GateState) -> Tensor:
        return torch.tensor(cost_of(space.policy_of(state)), dtype=torch.float64, device=device)

    return exact


def build_space(context: SearchContext, *, quantize: bool, prune: bool) -> SearchSpace:
    """Search network on the context's device, with all gates open."""
    settings = context.settings
    inputs = None
    if quantize and settings.interval_bits is not None:
        inputs = context.sampled_inputs()
    highest = settings.bitwidths[-1] if quantize else FULL_PRECISION
    space = search_network(
        context.model,
        context.spec,
        context.uniform_policy(highest),
        bitwidths=settings.bitwidths if quantize else None,
        group_size=settings.group_size if prune else None,
        metric=settings.pruning_metric,
        placement=settings.pruning_gate,
    )
    space.model.to(context.device)
    if inputs is not None:
        fit_intervals(space.layers, inputs, settings.interval_bits)
    return space
