"""Spend a budget on the bitwidths that are worth most per cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sbs.errors import SBSError
from sbs.policy import Bitwidths, Policy

Step = tuple[str, str, int]
"""A layer, a side (``weight_bits`` or ``activation_bits``), and the bitwidth that it goes up to."""


def benefits(history: Sequence[Mapping[str, Any]]) -> dict[Step, float]:
    """Loss that the step up to a bitwidth saves, by layer, side and this bitwidth.

    Args:
        history: measurements as in the record of a search.
    """
    whole = {entry["bits"]: entry["loss"] for entry in history if entry["layer"] is None}
    return {
        (entry["layer"], entry["side"], entry["bits"]): entry["loss"] - whole[entry["bits"]]
        for entry in history
        if entry["layer"] is not None
    }


def changed(policy: Policy, layer: str, side: str, bits: int) -> Policy:
    """The policy with another bitwidth of one tensor."""
    one = policy.layers[layer].model_copy(update={side: bits})
    return policy.model_copy(update={"layers": policy.layers | {layer: one}})


def allocate(
    lowest: Policy,
    bitwidths: Bitwidths,
    benefits: Mapping[Step, float],
    cost_of: Callable[[Policy], float],
    target: float,
) -> Policy:
    """Raise bitwidths one step at a time, as long as the target allows it.

    The next step is the one with the largest benefit per increase of log cost, of those that cost
    at most the target. So the policy costs a little less than the target.

    Args:
        lowest: policy with the lowest of ``bitwidths`` in every tensor that has benefits.
        bitwidths: the candidates.
        benefits: loss that each step saves.
        cost_of: exact cost of a policy.
        target: maximum cost.

    Raises:
        SBSError: ``lowest`` costs more than the target.
    """
    policy, cost = lowest, cost_of(lowest)
    if cost > target:
        raise SBSError(
            f"search.target: {target:.4g} is less than the cost of the lowest bitwidths, "
            f"{cost:.4g}; give a larger target"
        )
    while True:
        best: tuple[float, Policy, float] | None = None
        for step in _next_steps(policy, bitwidths, benefits):
            raised = changed(policy, *step)
            higher = cost_of(raised)
            rate = benefits[step] / math.log(higher / cost)
            if higher <= target and (best is None or rate > best[0]):
                best = rate, raised, higher
        if best is None:
            return policy
        _, policy, cost = best


def _next_steps(policy: Policy, bitwidths: Bitwidths, benefits: Mapping[Step, float]) -> list[Step]:
    """For every tensor that has a higher candidate, the step up to the next one."""
    steps = []
    for layer, side in dict.fromkeys((layer, side) for layer, side, _ in benefits):
        place = bitwidths.index(getattr(policy.layers[layer], side))
        if place + 1 < len(bitwidths):
            steps.append((layer, side, bitwidths[place + 1]))
    return steps
