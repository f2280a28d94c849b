"""Algorithm 1: learn weights and thresholds together, then extract the policy from the gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from sbs.config.settings import SearchSettings
from sbs.cost.expected import ExpectedCost
from sbs.methods.penalty import FixedPenalty, SteeredPenalty, natural_penalty
from sbs.policy import LayerPolicy, Policy
from sbs.surgery.search import SearchSpace
from sbs.training.loop import sgd

TRAJECTORY_POINTS = 60
"""How often a search records the state of its gates."""


class SearchTask:
    """The search as a task of :func:`sbs.training.loop.fit`."""

    def __init__(
        self,
        space: SearchSpace,
        cost: ExpectedCost,
        penalty: FixedPenalty | SteeredPenalty,
        settings: SearchSettings,
        steps: int,
    ) -> None:
        """Set up the optimizers.

        Args:
            space: the search network.
            cost: differentiable cost of the network.
            penalty: λ.
            settings: learning rates and alternation.
            steps: iterations of the whole search.
        """
        self.space, self.model, self.cost, self.penalty = space, space.model, cost, penalty
        self.settings, self.steps = settings, steps
        self.trajectory: list[dict[str, Any]] = []
        sides = _thresholds(space)
        self._weight_side = sides["weights"] + sides["filters"]
        self._activation_side = sides["activations"]
        gated = {id(parameter) for side in sides.values() for parameter in side}
        others = [p for p in self.model.parameters() if id(p) not in gated]
        momentum = settings.threshold_momentum
        gate: dict[str, Any] = {
            "weight_decay": 0.0,
            "momentum": momentum,
            "nesterov": settings.nesterov and momentum > 0,
        }
        bits, prune = settings.threshold_learning_rate, settings.pruning_threshold_learning_rate
        groups: list[dict[str, Any]] = [
            {"params": others},
            {"params": sides["weights"] + sides["activations"], "lr": bits, **gate},
            {"params": sides["filters"], "lr": prune, **gate},
        ]
        self.optimizers: Sequence[Optimizer] = [
            sgd([group for group in groups if group["params"]], settings)
        ]
        self._iteration = 0
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

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Eq. 13: cross-entropy plus λ log R(α)."""
        entropy = F.cross_entropy(self.model(images).float(), labels)
        cost = self.cost()
        penalty = self.penalty(cost.detach(), self._iteration / self.steps)
        self._last = {"entropy": entropy.detach(), "cost": cost.detach(), "penalty": penalty}
        if self._iteration % max(1, self.steps // TRAJECTORY_POINTS) == 0:
            self._note()
        return entropy + (penalty * cost.log()).to(entropy.dtype)

    def epoch_summary(self) -> dict[str, float]:
        """Cost and λ at the end of the epoch."""
        return {
            "cost": float(self._last["cost"]),
            "penalty": float(self.penalty.value),
            "entropy": float(self._last["entropy"]),
        }

    def state_dict(self) -> dict[str, Any]:
        """λ and the trajectory so far."""
        return {"penalty": self.penalty.state_dict(), "trajectory": self.trajectory}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.penalty.load_state_dict(state["penalty"])
        self.trajectory = state["trajectory"]

    def _note(self) -> None:
        layers = self.space.layers.items()
        self.trajectory.append(
            {
                "iteration": self._iteration,
                "cost": float(self._last["cost"]),
                "penalty": float(self._last["penalty"]),
                "weight_bits": {
                    name: int(layer.weight_gate.bits())
                    for name, layer in layers
                    if layer.weight_gate is not None
                },
                "activation_bits": {
                    name: int(layer.activation_gate.bits())
                    for name, layer in layers
                    if layer.activation_gate is not None
                },
                "kept_share": {
                    name: float(gate.mask.mean()) for name, gate in self.space.filter_gates.items()
                },
            }
        )


def extract_policy(space: SearchSpace) -> Policy:
    """The policy of the gates; activation gates use their running metrics."""
    layers: dict[str, LayerPolicy] = {}
    for name, layer in space.layers.items():
        weight_bits, activation_bits = layer.options.weight_bits, layer.options.activation_bits
        if layer.weight_gate is not None:
            weight_bits = layer.weight_gate.settled_bits()
        if layer.activation_gate is not None:
            activation_bits = layer.activation_gate.settled_bits()
        kept = None
        if name in space.filter_gates:
            kept = kept_filters(space.filter_gates[name].mask)
        layers[name] = LayerPolicy(
            weight_bits=weight_bits, activation_bits=activation_bits, kept=kept
        )
    return Policy(network=space.network, layers=layers)


def kept_filters(gates: Tensor) -> tuple[int, ...] | None:
    """Indices of open gates; ``None`` if all are open."""
    if bool(gates.all()):
        return None
    return tuple(int(index) for index in gates.nonzero().flatten())


def _thresholds(space: SearchSpace) -> dict[str, list[nn.Parameter]]:
    sides: dict[str, list[nn.Parameter]] = {"weights": [], "activations": [], "filters": []}
    for layer in space.layers.values():
        if layer.weight_gate is not None:
            sides["weights"].append(layer.weight_gate.thresholds)
        if layer.activation_gate is not None:
            sides["activations"].append(layer.activation_gate.thresholds)
    sides["filters"] = [gate.threshold for gate in space.filter_gates.values()]
    return sides


def penalty_of(
    settings: SearchSettings, start: float, target: float | None, steps: int, device: torch.device
) -> FixedPenalty | SteeredPenalty:
    """λ according to the settings: steered if there is a target, else constant."""
    if target is None:
        return FixedPenalty(settings.penalty, device)
    unit = natural_penalty(settings.threshold_learning_rate, steps)
    return SteeredPenalty(start, target, unit, steps, device)
