"""Algorithm 1: learn weights and thresholds together, then extract the policy from the gates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from sbs.config.settings import SearchSettings
from sbs.methods.penalty import FixedPenalty, SteeredPenalty
from sbs.methods.single_path.shares import OpenShares
from sbs.runtime import processes
from sbs.surgery.search import GateState, SearchSpace
from sbs.training.batch import Batch
from sbs.training.recipe import Recipe
from sbs.training.spread import weight

GateCost: TypeAlias = Callable[[GateState], Tensor]
"""The cost of gates, a scalar."""

ADAM_MEMORY = 0.99
"""Decay of Adam's mean square of a threshold's gradient."""

LOOKS = 16
"""Looks at the cost of the settled gates in a window of shares, or one in each step."""

TRAJECTORY_POINTS = 60
"""How often a search records the state of its gates."""


class SearchTask:
    """The search as a task of :func:`sbs.training.loop.fit`."""

    def __init__(
        self,
        space: SearchSpace,
        cost: GateCost,
        exact: GateCost,
        penalty: FixedPenalty | SteeredPenalty,
        settings: SearchSettings,
        steps: int,
        recipe: Recipe | None = None,
    ) -> None:
        """Set up the optimizers.

        Args:
            space: the search network.
            cost: differentiable cost of the network.
            exact: cost of gates that are all open or closed, as their policy has it.
            penalty: λ.
            settings: learning rates and alternation.
            steps: iterations of the whole search.
            recipe: loss, and optimizer of the weights; None: those of the paper.
        """
        self._recipe = recipe or Recipe()
        self.space, self.model, self.cost, self.exact = space, space.model, cost, exact
        self.penalty = penalty
        self.settings, self.steps = settings, steps
        self.trajectory: list[dict[str, Any]] = []
        sides = _thresholds(space)
        self._weight_side = sides["weight_bits"] + sides["filters"]
        self._activation_side = sides["activation_bits"]
        self.optimizers: Sequence[Optimizer] = _optimizers(
            self.model, sides, settings, self._recipe
        )
        self.shares = OpenShares(space, settings.share_window * steps)
        self._look_steps = max(1, round(settings.share_window * steps / LOOKS))
        self.settled = False
        self._iteration, self._noted = 0, -1
        self._last: dict[str, Tensor] = {}

    def before_forward(self, iteration: int) -> None:
        """Select which thresholds learn: those of weights on even iterations (Algorithm 1).

        The other thresholds get no gradient at all: momentum then cannot move them, and the
        backward pass skips their sums.
        """
        self._iteration = iteration
        even = (iteration + 1) % 2 == 0
        for parameters, turn in ((self._weight_side, even), (self._activation_side, not even)):
            for parameter in parameters:
                parameter.requires_grad_(turn or not self.settings.alternating)

    def loss(self, batch: Batch) -> Tensor:
        """Eq. 13: cross-entropy, or the recipe's objective, plus λ log R(α)."""
        entropy = self._recipe.objective(self.model, batch)
        state = self.space.state()
        cost = self.cost(state)
        if self._iteration != self._noted:  # else it is another part of the same batch
            self._noted = self._iteration
            self._follow(entropy.detach() * weight(batch, entropy.device), cost.detach(), state)
        return entropy + (self._last["penalty"] * cost.log()).to(entropy.dtype)

    def _follow(self, entropy: Tensor, cost: Tensor, state: GateState) -> None:
        """Let λ and the shares of time open follow the gates of this iteration."""
        progress = self._iteration / self.steps
        penalty = self.penalty.value if self.settled else self.penalty(cost, progress)
        self._last = {"entropy": entropy, "cost": cost, "penalty": penalty}
        if not self.settled:
            self.shares.update(state)
            self._look(progress)
        if self._iteration % max(1, self.steps // TRAJECTORY_POINTS) == 0:
            self._note()

    def _look(self, progress: float) -> None:
        """Steer the policy that the search would end with into the band, and then stay at it."""
        if self._iteration % self._look_steps:
            return
        cost = self.exact(self.shares.settled())
        self.penalty.correct(cost, progress, self._look_steps / self.steps)
        if self.penalty.accepts(cost, progress):
            self._settle()

    def _settle(self) -> None:
        self.settled = True
        self.space.freeze(self.shares.policy())

    def epoch_summary(self) -> dict[str, float]:
        """Cost and λ at the end of the epoch."""
        return {
            "cost": float(self._last["cost"]),
            "penalty": float(self.penalty.value),
            "entropy": float(processes.total(self._last["entropy"]) / processes.count()),
        }

    def state_dict(self) -> dict[str, Any]:
        """λ, the shares of time open, whether they are settled, and the trajectory so far."""
        return {
            "penalty": self.penalty.state_dict(),
            "shares": self.shares.state_dict(),
            "settled": self.settled,
            "trajectory": self.trajectory,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.penalty.load_state_dict(state["penalty"])
        self.shares.load_state_dict(state["shares"])
        if state["settled"]:
            self._settle()
        self.trajectory = state["trajectory"]

    def _note(self) -> None:
        self.trajectory.append(
            {
                "iteration": self._iteration,
                "cost": float(self._last["cost"]),
                "settled_cost": float(self.exact(self.shares.settled())),
                "penalty": float(self._last["penalty"]),
                **self.shares.summary(),
            }
        )


def _thresholds(space: SearchSpace) -> dict[str, list[nn.Parameter]]:
    sides: dict[str, list[nn.Parameter]] = {"weight_bits": [], "activation_bits": []}
    for _, side, gate in space.bit_gates():
        sides[side].append(gate.thresholds)
    return sides | {"filters": [gate.threshold for gate in space.filter_gates.values()]}


def _optimizers(
    model: nn.Module,
    sides: dict[str, list[nn.Parameter]],
    settings: SearchSettings,
    recipe: Recipe,
) -> list[Optimizer]:
    """One for weights and intervals, and one for thresholds, at their own constant rates."""
    gated = {id(parameter) for side in sides.values() for parameter in side}
    others = [p for p in model.parameters() if id(p) not in gated]
    bits = sides["weight_bits"] + sides["activation_bits"]
    groups = [
        {"params": bits, "lr": settings.threshold_learning_rate},
        {"params": sides["filters"], "lr": settings.pruning_threshold_learning_rate},
    ]
    groups = [group for group in groups if group["params"]]
    momentum = settings.threshold_momentum
    thresholds: Optimizer
    if settings.threshold_optimizer == "adam":
        thresholds = Adam(groups, betas=(momentum, ADAM_MEMORY))
    else:
        thresholds = SGD(groups, momentum=momentum, nesterov=settings.nesterov and momentum > 0)
    return [recipe.optimizer([{"params": others}], settings), thresholds]


def penalty_of(
    settings: SearchSettings, start: float, target: float | None, steps: int, device: torch.device
) -> FixedPenalty | SteeredPenalty:
    """λ according to the settings: steered if there is a target, else constant."""
    if target is None:
        return FixedPenalty(settings.penalty, device)
    return SteeredPenalty(start, target, settings.ramp, settings.settle, steps, device)
