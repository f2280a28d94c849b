"""λ of Eq. 13: constant, or steered to a target cost.

Steered, λ is the multiplier of the constraint ``log R = log target``; it can be negative. A
proportional-integral controller sets it. The set-point of the cost falls geometrically from the
initial cost to the middle of the target band, over the first part of the search, and then stays
there. Above the set-point λ is positive and closes gates. Below it λ is negative and reopens the
gates that closed last. So the rest of the search can exchange gates at a constant cost.
"""

from __future__ import annotations

import torch
from torch import Tensor

BAND = 0.05
"""A policy costs at most the target, and at least ``1 - BAND`` of it."""

RAMP = 0.6
"""Share of the search during which the set-point falls."""

PROPORTIONAL, INTEGRAL = 60.0, 60.0
"""Gains in units of :func:`natural_penalty`; the integral is over the progress from 0 to 1."""

LARGEST_ERROR = 0.5
"""Errors of log R are clipped to this magnitude."""


def natural_penalty(threshold_learning_rate: float, steps: int) -> float:
    """The scale of λ: during a search, a threshold moves by about λ · learning rate · steps.

    In this unit, gains mean the same for every learning rate and number of steps.
    """
    return 1 / (threshold_learning_rate * steps)


class FixedPenalty:
    """The paper's constant λ."""

    def __init__(self, penalty: float, device: torch.device) -> None:
        self.value = torch.tensor(penalty, dtype=torch.float64, device=device)

    def __call__(self, cost: Tensor, progress: float) -> Tensor:
        """λ for this step; it does not depend on the cost."""
        return self.value

    def state_dict(self) -> dict[str, Tensor]:
        """Empty: a constant has no state."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Do nothing."""


class SteeredPenalty:
    """λ that follows a falling set-point of the cost. It never synchronises with the device."""

    def __init__(
        self, start: float, target: float, unit: float, steps: int, device: torch.device
    ) -> None:
        """Set up the controller.

        Args:
            start: cost with all gates open.
            target: target cost.
            unit: value of :func:`natural_penalty`.
            steps: number of steps of the search.
            device: device of the cost.
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
            progress: finished share of the search.
        """
        set_point = torch.lerp(self._log_start, self._log_aim, min(progress / RAMP, 1.0))
        error = (cost.log() - set_point).clamp(-LARGEST_ERROR, LARGEST_ERROR)
        self.integral = self.integral + error / self.steps
        self.value = self.unit * (PROPORTIONAL * error + INTEGRAL * self.integral)
        return self.value

    def state_dict(self) -> dict[str, Tensor]:
        """State of the controller, so that a resumed search equals an uninterrupted one."""
        return {"value": self.value, "integral": self.integral}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore :meth:`state_dict`."""
        device = self.value.device
        self.value, self.integral = state["value"].to(device), state["integral"].to(device)
