"""λ of Eq. 13: constant, or steered to a target cost.

Steered, λ is the price of the constraint ``log R = log target``. A set-point of the cost falls
geometrically from the initial cost to the middle of the accepted costs, over the first part of the
search, and then stays there. The logarithm of λ integrates the distance of the cost from it. So λ
finds the size of what it is weighed against, the benefit of an open gate in the cross-entropy,
however small that is. A second factor reacts to the distance at once; where the cost is more than
10 % too low, it turns λ negative, which reopens gates. It then pushes at least as λ did at first:
while the cost is too low for long, the integral has nothing to find and vanishes.

What has to cost the target is the policy that the search ends with. Its gates are all open or
closed, while the gates of the search are open now and then, so its cost can differ from the mean
cost by some per cent. While it costs more than the target or clearly less, the set-point moves
slowly against the difference. How much less is accepted grows late in the search: a policy that
spends its whole budget is worth some patience, one in the band at the end is worth more. If no
policy has been accepted some time later, the controller insists: the set-point moves faster.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BAND = 0.05
"""A policy costs at most the target, and at least ``1 - BAND`` of it."""

START = 0.01
"""First λ. The ramp multiplies it by some 50."""

INTEGRAL = 40.0
"""Growth of log λ over a whole search, for a constant error of 1 in the log of the cost."""

PROPORTIONAL = 10.0
"""Immediate growth of λ, as a share of it, for an error of 1; without it the cost oscillates."""

LOWEST_FACTOR = -1.0
"""The immediate factor is at least this."""

CORRECTION = 8.0
"""Movement of the log of the set-point over a whole search, for a policy that costs 1 too much in
the log."""

CORRECTION_DELAY = 0.1
"""The correction starts this share of the search after the ramp, when the policy has caught up."""

MARGIN = 0.2
"""The correction aims at the accepted costs without this part of their range at both ends."""

STRICT = 0.3
"""Part of the band that is accepted at first: its upper end."""

PATIENCE = 0.1
"""Share of the search, after the first policies are accepted, from when all of the band is."""

INSISTENCE = 0.15
"""Share of the search, after the first policies are accepted, from when the controller insists."""

PRESSURE = 6.0
"""The set-point then moves faster by this factor."""

LARGEST_ERROR = 0.5
"""Errors of log R are clipped to this magnitude."""

STATE = ("value", "integral", "correction")


class FixedPenalty:
    """The paper's constant λ."""

    def __init__(self, penalty: float, device: torch.device) -> None:
        self.value = torch.tensor(penalty, dtype=torch.float64, device=device)

    def __call__(self, cost: Tensor, progress: float) -> Tensor:
        """λ for this step; it does not depend on the cost."""
        return self.value

    def accepts(self, settled: Tensor, progress: float) -> bool:
        """False: there is no target."""
        return False

    def correct(self, settled: Tensor, progress: float, share: float) -> None:
        """Do nothing: a constant follows no cost."""

    def state_dict(self) -> dict[str, Tensor]:
        """Empty: a constant has no state."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Do nothing."""


class SteeredPenalty:
    """λ that follows a falling set-point of the cost. It never synchronises with the device."""

    def __init__(
        self,
        start: float,
        target: float,
        ramp: float,
        settle: float,
        steps: int,
        device: torch.device,
    ) -> None:
        """Set up the controller.

        Args:
            start: cost with all gates open.
            target: target cost.
            ramp: share of the search during which the set-point falls; 0: it starts at its end.
            settle: share of the search after which policies are accepted; 0: in all of the band.
            steps: number of steps of the search.
            device: device of the cost.
        """
        self.value = torch.zeros((), dtype=torch.float64, device=device)
        self.integral = torch.full_like(self.value, START).log()
        self.correction = torch.zeros_like(self.value)
        self.ramp, self.settle, self.steps = ramp, settle, steps
        self._log_start = torch.full_like(self.value, start).log()
        self._log_target = torch.full_like(self.value, target).log()
        self._target = target

    def __call__(self, cost: Tensor, progress: float) -> Tensor:
        """λ for this step.

        Args:
            cost: R(α) of this step, a scalar without gradient.
            progress: finished share of the search.
        """
        fallen = min(progress / self.ramp, 1.0) if self.ramp else 1.0
        set_point = torch.lerp(self._log_start, self._log_aim(progress), fallen) + self.correction
        error = (cost.log() - set_point).clamp(-LARGEST_ERROR, LARGEST_ERROR)
        self.integral = self.integral + INTEGRAL * error / self.steps
        factor = (1 + PROPORTIONAL * error).clamp_min(LOWEST_FACTOR)
        size = self.integral.exp()
        self.value = torch.where(factor < 0, size.clamp_min(START), size) * factor
        return self.value

    def accepts(self, settled: Tensor, progress: float) -> bool:
        """Whether the search may stay at a policy of this cost; waits for the device."""
        if progress < self.settle:
            return False
        return bool((1 - self._tolerance(progress)) * self._target <= settled <= self._target)

    def correct(self, settled: Tensor, progress: float, share: float) -> None:
        """Move the set-point against the error of the policy that the search would end with.

        Args:
            settled: cost of that policy, a scalar without gradient.
            progress: finished share of the search; nothing happens in the ramp and shortly after.
            share: share of the search since the last call.
        """
        if progress >= self.ramp + CORRECTION_DELAY:
            error = settled.log() - self._log_aim(progress)
            allowed = self._tolerance(progress) * (1 / 2 - MARGIN)
            outside = error - error.clamp(-allowed, allowed)
            pressure = PRESSURE if self._insists(progress) else 1.0
            self.correction = self.correction - pressure * CORRECTION * share * outside

    def _log_aim(self, progress: float) -> Tensor:
        """The middle between the target and the least accepted cost."""
        return self._log_target + math.log1p(-self._tolerance(progress) / 2)

    def _tolerance(self, progress: float) -> float:
        """How far below the target a cost is accepted, as a share of it."""
        return BAND * min(max(STRICT, (progress - self.settle) / PATIENCE), 1.0)

    def _insists(self, progress: float) -> bool:
        return progress >= self.settle + INSISTENCE

    def state_dict(self) -> dict[str, Tensor]:
        """State of the controller, so that a resumed search equals an uninterrupted one."""
        return {name: getattr(self, name) for name in STATE}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore :meth:`state_dict`."""
        for name in STATE:
            setattr(self, name, state[name].to(self.value.device))
