"""λ of Eq. 13: fixed, or steered so that the search lands on a target cost.

The set-point falls from the starting cost to the middle of the target band, geometrically over
the first part of the search, and stays there. λ grows while the cost is above its set-point and
shrinks while it is below, by a factor that depends on how far; below the set-point the penalty
itself is off, so that only the cross-entropy decides which gates reopen.
"""

from __future__ import annotations

import torch
from torch import Tensor

BAND = 0.05
"""A found policy costs at most the target and at most this share less."""

RAMP = 0.6
"""Share of the search over which the set-point falls."""

GAIN = 150.0
"""log λ changes by this much times the (log) error, over the whole search."""

LARGEST_ERROR = 0.3
PENALTY_RANGE = (1e-4, 1e3)


class FixedPenalty:
    """The paper's constant λ."""

    def __init__(self, penalty: float, device: torch.device) -> None:
        self.value = torch.tensor(penalty, dtype=torch.float64, device=device)

    def __call__(self, cost: Tensor, progress: float) -> Tensor:
        """λ for this step, whatever the cost."""
        return self.value


class SteeredPenalty:
    """λ that follows a falling set-point of the cost. Never waits for the device."""

    def __init__(
        self, penalty: float, start: float, target: float, steps: int, device: torch.device
    ) -> None:
        """Start.

        Args:
            penalty: λ to begin with.
            start: cost with all gates open.
            target: cost to land on.
            steps: length of the search.
            device: where the cost is computed.
        """
        self.value = torch.tensor(max(penalty, PENALTY_RANGE[0]), dtype=torch.float64)
        self.value = self.value.to(device)
        self.steps = steps
        self._log_start = torch.tensor(float(start), dtype=torch.float64, device=device).log()
        aim = target * (1 - BAND / 2)
        self._log_aim = torch.tensor(aim, dtype=torch.float64, device=device).log()

    def __call__(self, cost: Tensor, progress: float) -> Tensor:
        """λ for this step.

        Args:
            cost: R(α) of this step, a scalar without gradient.
            progress: share of the search that is done.
        """
        fallen = min(progress / RAMP, 1.0)
        set_point = torch.lerp(self._log_start, self._log_aim, fallen)
        error = cost.log() - set_point
        change = error.clamp(-LARGEST_ERROR, LARGEST_ERROR) * (GAIN / self.steps)
        self.value = (self.value * change.exp()).clamp(*PENALTY_RANGE)
        return torch.where(error > 0, self.value, torch.zeros_like(self.value))
