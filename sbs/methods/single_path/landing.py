"""The last step of a search with a target: move a policy that misses the target's band into it.

The search is to end in the band by itself. If it does not, the least decided gates are flipped, and
no others: first the gates close that were open least often, until the cost is at most the target;
then those reopen that were open most often, as long as the cost allows it. The record says how many
gates that took.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from sbs.errors import SBSError
from sbs.methods.penalty import BAND
from sbs.methods.single_path.shares import OpenShares
from sbs.policy import Policy
from sbs.quantization.gates import nested_levels
from sbs.surgery.search import GateState


@dataclass(frozen=True)
class Landing:
    """A policy in the target's band, and how it was reached.

    Attributes:
        policy: the policy. It costs less than the band only if no single flip leads into the band.
        flips: number of gates that were flipped; 0 if the search ended in the band.
    """

    policy: Policy
    flips: int


def land(shares: OpenShares, target: float, cost_of: Callable[[Policy], float]) -> Landing:
    """Move the policy of the settled gates to a cost in ``[(1 - BAND) target, target]``.

    Args:
        shares: how often the gates were open.
        target: maximum cost.
        cost_of: exact cost of a policy.

    Raises:
        SBSError: with all gates closed, the network still costs more than the target.
    """
    state, flips = shares.settled(), 0

    def cost(gates: GateState) -> float:
        return cost_of(shares.space.policy_of(gates))

    while cost(state) > target:
        closing = next(_flipped(shares, state, closing=True), None)
        if closing is None:
            raise SBSError(
                f"search.target: {target:.4g} is less than the cost with all gates closed, "
                f"{cost(state):.4g}; give a larger target"
            )
        state, flips = closing, flips + 1
    while cost(state) < (1 - BAND) * target:
        opening = _flipped(shares, state, closing=False)
        chosen = next((flipped for flipped in opening if cost(flipped) <= target), None)
        if chosen is None:
            break
        state, flips = chosen, flips + 1
    return Landing(shares.space.policy_of(state), flips)


def _flipped(shares: OpenShares, state: GateState, *, closing: bool) -> Iterator[GateState]:
    """The states after one flip that changes the policy, the least decided gate first."""
    flips = [
        (float(getattr(shares.mean, kind)[place]), kind, place)
        for kind, place in _candidates(shares, state, closing)
    ]
    for _, kind, place in sorted(flips, key=lambda flip: flip[0], reverse=not closing):
        gates = getattr(state, kind).clone()
        gates[place] = 0.0 if closing else 1.0
        yield replace(state, **{kind: gates})


def _candidates(
    shares: OpenShares, state: GateState, closing: bool
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Kind and place of the gates that can flip: the outermost of a tensor, any group.

    A frozen gate cannot: an earlier search has decided it.
    """
    for kind in ("weight_bits", "activation_bits"):
        gates = getattr(state, kind)
        count = gates.shape[1]
        free = [gate.frozen is None for _, side, gate in shares.space.bit_gates() if side == kind]
        for row, level in enumerate(nested_levels(gates)):
            column = level - 1 if closing else level
            if free[row] and 0 <= column < count:
                yield kind, (row, column)
    start = 0
    for _, gate, groups in shares.space.groups_of(state):
        opened = groups.tolist()
        flippable = [place for place, is_open in enumerate(opened) if is_open == closing]
        if gate.frozen is None and (not closing or len(flippable) > 1):
            yield from (("groups", (start + place,)) for place in flippable)
        start += len(opened)
