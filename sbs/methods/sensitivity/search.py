"""Measure what every bitwidth is worth, and spend the budget on those worth most.

For each candidate bitwidth above the lowest, a network with this bitwidth in all layers is trained.
Then each tensor in turn (a layer's weights or its input) gets the next lower bitwidth, alone; the
network trains on for a few steps, and its loss is measured on training images that were set aside.
What the bitwidth is worth there is this loss minus that of the network with no tensor lowered,
after the same steps on the same images.

This is many times the effort of a learned search for the same decisions, so it says how good those
are. The measurements do not see how tensors act together.

One entry of the history is one measurement; the search resumes after the last one.
"""

from __future__ import annotations

import time
from itertools import pairwise, product
from typing import get_args

from sbs.errors import SBSError
from sbs.methods.context import SearchContext, SearchResult
from sbs.methods.sensitivity import SensitivitySettings
from sbs.methods.sensitivity.allocation import allocate, benefits
from sbs.methods.sensitivity.meter import Lowered, Meter
from sbs.surgery.networks import plain_state
from sbs.surgery.search import Side
from sbs.training.state import Progression, read_state, training_lock, write_state

SIDES = get_args(Side)


def search(context: SearchContext) -> SearchResult:
    """Measure, then open the gates worth most per cost until the target is spent.

    Raises:
        SBSError: there is no target, or too few training images.
    """
    target = context.target_cost()
    if target is None:
        raise SBSError("search.target: sensitivity needs a target; give for example '3-bit'")
    with training_lock(context.resume):
        progression = _measure_all(context)
    bitwidths = context.settings.bitwidths
    lowest = context.uniform_policy(bitwidths.lowest)
    worth = benefits(progression.history)
    policy = allocate(lowest, bitwidths, worth, context.exact_cost(), target)
    return SearchResult(policy, plain_state(context.model), target, progression)


def measurements(context: SearchContext) -> list[tuple[int, Lowered | None]]:
    """Bitwidth of all tensors and the lowered one, if any, of every network to measure."""
    found: list[tuple[int, Lowered | None]] = []
    for lower, bits in pairwise(context.settings.bitwidths):
        found.append((bits, None))
        tensors = product(context.inner_names, SIDES)
        found += [(bits, Lowered(layer, side, lower)) for layer, side in tensors]
    return found


def _measure_all(context: SearchContext) -> Progression:
    meter = Meter(context, context.section(SensitivitySettings))
    cost_of = context.exact_cost()
    content, progression = read_state(context.resume, context.identity, context.reporter)
    if content is not None:
        meter.load_state_dict(content["base"])
    jobs = measurements(context)
    for bits, lowered in jobs[progression.epoch :]:
        started = time.perf_counter()
        loss = meter.loss_of(bits, lowered)
        seconds = time.perf_counter() - started
        progression.epoch += 1
        progression.seconds += seconds
        progression.history.append(
            {
                "epoch": progression.epoch,
                "bits": bits,
                "layer": lowered and lowered.layer,
                "side": lowered and lowered.side,
                "loss": loss,
                "cost": cost_of(meter.policy(bits, lowered)),
                "seconds": round(seconds, 3),
            }
        )
        content = {"base": meter.state_dict()}
        write_state(content, context.resume, context.identity, progression)
        name = f"{lowered.side} of {lowered.layer} lower" if lowered else "none lower"
        context.reporter.line(
            f"measurement {progression.epoch}/{len(jobs)}: {bits} bits, {name}: loss {loss:.4f}"
        )
    return progression
