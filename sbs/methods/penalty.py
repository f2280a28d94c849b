"""λ of Eq. 13: fixed, or steered so that the search lands on a target cost.

Steered, λ is the multiplier of the constraint ``log R = log target``, of either sign, and a
proportional-integral controller sets it. The set-point falls from the starting cost to the middle
of the target band, geometrically over the first part of the search, and stays there. Above the
set-point λ is positive and closes gates; below it, λ is negative and reopens those that were
closed last, so that the rest of the search can exchange gates at a constant cost.
"""

from __future__ import annotations

import torch
from torch import Tensor

BAND = 0.05
"""A found policy costs at most the target and at most this share less."""

RAMP = 0.6
"""Share of the search over which the set-point falls."""

PROPORTIONAL, INTEGRAL = 60.0, 60.0
"""Gains, in units of :func:`natural_penalty`; the integral is over the progress from 0 to 1."""

LARGEST_ERROR = 0.5
"""Errors of log R count at most this much."""


def natural_penalty(threshold_learning_rate: float, steps: int) -> float:
    """The scale of λ: a threshold moves by about λ · learning rate · steps in a search.

    Gains in this unit mean the same for any learning rate and length.
    """
    return 1 / (threshold_learning_rate * steps)


class FixedPenalty:
    """The paper's constant λ."""

    def __init__(self, penalty: float, device: torch.device) -> None:
        self.value = torch.tensor(penalty, dtype=torch.float64, device=device)

    def __call__(self, cost: Tensor, progress: float) -> Tensor:
        """λ for this step, whatever the cost."""
        return self.value

    def state_dict(self) -> dict[str, Tensor]:
        """A constant has none."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Nothing to take back."""


class SteeredPenalty:
    """λ that follows a falling set-point of the cost. Never waits for the device."""

    def __init__(
        self, start: float, target: float, unit: float, steps: int, device: torch.device
    ) -> None:
        """Start.

        Args:
            start: cost with all gates open.
            target: cost to land on.
            unit: :func:`natural_penalty`.
            steps: length of the search.
            device: where the cost is computed.
        """
        self.value = torch.zeros((), dtype=torch.float64, device=device)
        self.integral = torch.zeros_like(self.value)
        self.unit, self.steps = unit, steps
        self._log_start = torch.full_like(self.value, start).log()
        self._log_aim = torch.full_like(self.value, target * (1 - BAND / 2)).log()

    def __call__(self, cost: Tensor, progress: float) -> Tensor:
        """λ for this step.

        Args:
            cost: R(α) of this step, a scalar without gradient.
            progress: share of the search that is done.
        """
        set_point = torch.lerp(self._log_start, self._log_aim, min(progress / RAMP, 1.0))
        error = (cost.log() - set_point).clamp(-LARGEST_ERROR, LARGEST_ERROR)
        self.integral = self.integral + error / self.steps
        self.value = self.unit * (PROPORTIONAL * error + INTEGRAL * self.integral)
        return self.value

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed search needs to go on as if uninterrupted."""
        return {"value": self.value, "integral": self.integral}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore :meth:`state_dict`."""
        device = self.value.device
        self.value, self.integral = state["value"].to(device), state["integral"].to(device)
