"""Convergence of the schemes in the toy regression, as curves and in numbers (Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from sbs.theory.toy import BITWIDTHS, ITERATIONS, SCHEMES, Regression, best_quantized, descend, draw

LEARNING_RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
SEEDS = tuple(range(100))
LIMIT_SEEDS = tuple(range(20))
OURS = "SBS"
AGREE = 1e-3
"""Limits agree if they differ by less than this; the noise of the data alone gives a loss of 1."""

NEAR = 0.01
"""A curve has converged when it stays within this share of its last value."""


def curves(
    seeds: Sequence[int] = SEEDS, learning_rates: Sequence[float] = LEARNING_RATES
) -> pd.DataFrame:
    """Loss by iteration, for all schemes and learning rates.

    Returns:
        Columns ``scheme``, ``learning_rate``, ``iteration``; ``mean`` and ``std`` of the loss over
        seeds; ``excess``, ``excess_low`` and ``excess_high``: median and deciles of the loss minus
        the best loss on the grid of the highest bitwidth. A mixture can be below that.
    """
    problem = draw(seeds)
    best = best_quantized(problem, BITWIDTHS[-1])
    deciles = torch.tensor([0.5, 0.1, 0.9], dtype=torch.float64)
    frames = []
    for rate in learning_rates:
        for scheme in SCHEMES:
            losses = descend(problem, scheme, rate)[:-1]
            middle, low, high = (losses - best).quantile(deciles, dim=1).tolist()
            frame = {"scheme": scheme, "learning_rate": rate, "iteration": range(len(losses))}
            frame |= {"mean": losses.mean(1).tolist(), "std": losses.std(1).tolist()}
            frame |= {"excess": middle, "excess_low": low, "excess_high": high}
            frames.append(pd.DataFrame(frame))
    return pd.concat(frames, ignore_index=True)


def summary(
    seeds: Sequence[int] = SEEDS, learning_rates: Sequence[float] = LEARNING_RATES
) -> pd.DataFrame:
    """The claims of section 3.4 in numbers: one row per scheme, learning rate and seed.

    Returns:
        ``iterations``: until the loss stays within 1 % of its last value. ``roughness``: total rise
        of the loss divided by its total fall. ``final``: loss of the final quantized weights.
        ``excess``: ``final`` minus the best loss on the grid of the highest bitwidth (exhaustive
        search).
    """
    problem = draw(seeds)
    best = best_quantized(problem, BITWIDTHS[-1])
    frames = []
    for rate in learning_rates:
        for scheme in SCHEMES:
            frames.append(_numbers(problem, best, scheme, rate, seeds))
    return pd.concat(frames, ignore_index=True)


def limits() -> pd.DataFrame:
    """Ends of the curves after ten times the paper's iterations: one row per scheme and seed.

    Returns:
        ``curve``: loss at the end of the curve minus the best quantized loss. ``final``: the same
        for the final weights, which for DNAS are those of a single path.
    """
    problem = draw(LIMIT_SEEDS)
    best = best_quantized(problem, BITWIDTHS[-1])
    frames = []
    for scheme in SCHEMES:
        losses = descend(problem, scheme, LEARNING_RATES[-1], 10 * ITERATIONS)
        curve, final = (losses[-2] - best).tolist(), (losses[-1] - best).tolist()
        frames.append(pd.DataFrame({"scheme": scheme, "curve": curve, "final": final}))
    return pd.concat(frames, ignore_index=True)


def claims(numbers: pd.DataFrame, ends: pd.DataFrame) -> pd.DataFrame:
    """Checks of section 3.4 and Proposition 1, as rows of the table of statements.

    Args:
        numbers: table of :func:`summary`.
        ends: table of :func:`limits`.
    """
    rows = []
    for other in (scheme for scheme in SCHEMES if scheme != OURS):
        for claim, column in (("faster", "iterations"), ("smoother", "roughness")):
            index = ["learning_rate", "seed"]
            wide = numbers.pivot(index=index, columns="scheme", values=column)
            lead = wide[other] - wide[OURS]
            rows.append(
                {"statement": f"Section 3.4: SBS converges {claim} than {other}"}
                | {"checked": f"toy regression, {column}; {_settings(numbers)}"}
                | _row(lead > 0, float(lead.min()), f"{column} less than the other's, at least")
            )
        for what, column in (("expected losses", "curve"), ("chosen weights", "final")):
            gaps = _by_scheme(ends, other, column) - _by_scheme(ends, OURS, column)
            rows.append(
                {"statement": f"Proposition 1: the limits of SBS and {other} agree, {what}"}
                | {"checked": f"toy regression, {10 * ITERATIONS} iterations, {len(gaps)} seeds"}
                | _row(gaps.abs() <= AGREE, float(gaps.abs().max()), "difference, at most")
            )
    return pd.DataFrame(rows)


def _row(held: pd.Series, margin: float, of: str) -> dict[str, object]:
    return {
        "holds": bool(held.all()),
        "cases": len(held),
        "failures": int((~held).sum()),
        "margin": margin,
        "of": of,
    }


def _settings(numbers: pd.DataFrame) -> str:
    rates = ", ".join(f"{rate:g}" for rate in sorted(numbers["learning_rate"].unique()))
    return f"{numbers['seed'].nunique()} seeds, learning rates {rates}"


def _by_scheme(ends: pd.DataFrame, scheme: str, column: str) -> pd.Series:
    return ends.loc[ends["scheme"] == scheme, column].reset_index(drop=True)


def iterations_to_converge(losses: Tensor) -> Tensor:
    """First iteration (S) from which losses (T, S) stay within 1 % of their last value."""
    away = (losses - losses[-1]).abs() > NEAR * losses[-1]
    numbers = torch.arange(1, len(losses) + 1).unsqueeze(1)
    return (away * numbers).amax(0)


def roughness(losses: Tensor) -> Tensor:
    """Total rise of losses (T, S) divided by their total fall: (S); 0 if a curve only falls."""
    steps = losses.diff(dim=0)
    return steps.clamp_min(0).sum(0) / (-steps).clamp_min(0).sum(0).clamp_min(1e-12)


def _numbers(
    problem: Regression, best: Tensor, scheme: str, rate: float, seeds: Sequence[int]
) -> pd.DataFrame:
    losses = descend(problem, scheme, rate)
    return pd.DataFrame(
        {
            "scheme": scheme,
            "learning_rate": rate,
            "seed": list(seeds),
            "iterations": iterations_to_converge(losses[:-1]).tolist(),
            "roughness": roughness(losses[:-1]).tolist(),
            "final": losses[-1].tolist(),
            "excess": (losses[-1] - best).tolist(),
        }
    )
