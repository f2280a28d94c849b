"""The last step of a search with a target: move the policy into the target's band.

λ brings the gates near the target. Gates are discrete, so the cost can miss the band a little. Then
the gates closest to their thresholds are flipped, and no others: first gates close, smallest margin
first, until the cost is at most the target. Then gates reopen, as long as the cost allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from sbs.errors import SBSError
from sbs.methods.penalty import BAND
from sbs.methods.single_path.task import extract_policy, kept_filters
from sbs.nn.bit_gate import BitGate
from sbs.nn.filter_gate import FilterGate
from sbs.policy import LayerPolicy, Policy
from sbs.quantization.uniform import num_steps
from sbs.surgery.search import SearchSpace


@dataclass(frozen=True)
class Flip:
    """A flip of one gate, and the resulting policy of its layer.

    Attributes:
        margin: (metric - threshold), in units of the metric's scale: half a step of the grid for
            a bit gate; the mean group metric of the layer for a filter gate.
        layer: name of the layer.
        result: the layer's policy after the flip.
    """

    margin: float
    layer: str
    result: LayerPolicy


def land(space: SearchSpace, target: float, cost_of: Callable[[Policy], float]) -> Policy:
    """Policy of the gates, moved to a cost in ``[(1 - BAND) target, target]``.

    Args:
        space: the search network after training.
        target: maximum cost.
        cost_of: exact cost of a policy.

    Returns:
        The policy. It costs less than the band only if no single flip leads into the band.

    Raises:
        SBSError: with all gates closed, the network still costs more than the target.
    """
    policy = extract_policy(space)
    while cost_of(policy) > target:
        closing = sorted(_flips(space, policy, closing=True), key=lambda flip: flip.margin)
        if not closing:
            raise SBSError(
                f"search.target: {target:.4g} is less than the cost with all gates closed, "
                f"{cost_of(policy):.4g}; give a larger target"
            )
        policy = _with(policy, closing[0])
    while cost_of(policy) < (1 - BAND) * target:
        opening = sorted(_flips(space, policy, closing=False), key=lambda flip: -flip.margin)
        fitting = (_with(policy, flip) for flip in opening)
        chosen = next((one for one in fitting if cost_of(one) <= target), None)
        if chosen is None:
            break
        policy = chosen
    return policy


def _with(policy: Policy, flip: Flip) -> Policy:
    return policy.model_copy(update={"layers": policy.layers | {flip.layer: flip.result}})


def _flips(space: SearchSpace, policy: Policy, *, closing: bool) -> Iterator[Flip]:
    for name, layer in space.layers.items():
        now = policy.layers[name]
        for side, gate in (
            ("weight_bits", layer.weight_gate),
            ("activation_bits", layer.activation_gate),
        ):
            if gate is not None:
                yield from _bit_flips(name, now, side, gate, closing)
    for name, filter_gate in space.filter_gates.items():
        yield from _filter_flips(name, policy.layers[name], filter_gate, closing)


def _bit_flips(
    name: str, now: LayerPolicy, side: str, gate: BitGate, closing: bool
) -> Iterator[Flip]:
    level = gate.bitwidths.index(getattr(now, side))
    changed = level - 1 if closing else level + 1
    if not 0 <= changed < len(gate.bitwidths):
        return
    index = min(level, changed)
    half_step = 0.5 / num_steps(gate.bitwidths[index])
    margin = float(gate.mean_metrics[index] - gate.thresholds[index].detach()) / half_step
    yield Flip(margin, name, now.model_copy(update={side: gate.bitwidths[changed]}))


def _filter_flips(name: str, now: LayerPolicy, gate: FilterGate, closing: bool) -> Iterator[Flip]:
    metrics = gate.metrics
    kept = set(range(gate.filters)) if now.kept is None else set(now.kept)
    groups = [group * gate.group_size in kept for group in range(len(metrics))]
    is_open = torch.tensor(groups, device=metrics.device)
    if closing and int(is_open.sum()) == 1:
        return
    candidates = metrics.masked_fill(is_open != closing, torch.inf if closing else -torch.inf)
    group = int(candidates.argmin() if closing else candidates.argmax())
    if not bool(torch.isfinite(candidates[group])):
        return
    changed = is_open.clone()
    changed[group] = not closing
    per_filter = changed.repeat_interleave(gate.group_size)[: gate.filters]
    margin = float(metrics[group] - gate.threshold.detach()) / float(metrics.mean())
    yield Flip(margin, name, now.model_copy(update={"kept": kept_filters(per_filter)}))
