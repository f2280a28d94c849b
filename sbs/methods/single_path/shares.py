"""What a search has found: the gates that were open in most of its recent steps.

The cross-entropy feels little in an open gate, because the network has adapted to it; in a closed
one it feels the benefit of opening. So in equilibrium a gate closes now and then, by the cost, and
opens again, by the loss. Its state at one moment is noise. The share of the steps in which it is
open is the information: about ``1 - λ (gradient of log R) / (benefit)``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sbs.policy import Policy
from sbs.quantization.gates import nested_gates
from sbs.surgery.search import GateState, SearchSpace

MOST = 0.5
"""A gate is open in the policy if it was open in this share of the recent steps."""


class OpenShares:
    """Running means of all gates over the recent steps; all gates start open."""

    def __init__(self, space: SearchSpace, window: float) -> None:
        """Start with the current gates of ``space``.

        Args:
            space: the search network.
            window: time constant in steps; at most 1: only the last step counts, as in the paper.
        """
        self.space = space
        self.momentum = 1 / max(1.0, window)
        self.mean = _nested(space.state()).map(torch.clone)

    def update(self, state: GateState) -> None:
        """Count one step. A gate behind a closed one counts as closed."""
        new = _nested(state)
        for name, mean in vars(self.mean).items():
            mean.lerp_(getattr(new, name).to(mean.dtype), self.momentum)

    def settled(self) -> GateState:
        """The gates that were open in most steps; of each layer's groups at least one."""
        groups = [
            share >= share.max().clamp(max=MOST) for _, _, share in self.space.groups_of(self.mean)
        ]
        state = self.mean.map(lambda share: (share >= MOST).to(share.dtype))
        if not groups:
            return state
        kept = torch.cat(groups).to(state.groups.dtype)
        return GateState(state.weight_bits, state.activation_bits, kept)

    def policy(self) -> Policy:
        """The policy of the settled gates."""
        return self.space.policy_of(self.settled())

    def summary(self) -> dict[str, dict[str, Any]]:
        """Bitwidths and kept share of the settled gates, by layer with such gates."""
        layers = self.policy().layers
        sides: dict[str, dict[str, Any]] = {"weight_bits": {}, "activation_bits": {}}
        for name, side, _ in self.space.bit_gates():
            sides[side][name] = getattr(layers[name], side)
        shares = {
            name: 1.0 if (kept := layers[name].kept) is None else len(kept) / gate.filters
            for name, gate in self.space.filter_gates.items()
        }
        return sides | {"kept_share": shares}

    def by_layer(self) -> dict[str, dict[str, list[float]]]:
        """The running means, by kind and layer: of the K-1 gates of a tensor, and of the groups."""
        found: dict[str, dict[str, list[float]]] = {"weight_bits": {}, "activation_bits": {}}
        for name, side, _ in self.space.bit_gates():
            row = len(found[side])
            found[side][name] = _rounded(getattr(self.mean, side)[row])
        groups = {name: _rounded(part) for name, _, part in self.space.groups_of(self.mean)}
        return found | {"groups": groups}

    def state_dict(self) -> dict[str, Tensor]:
        """The running means."""
        return dict(vars(self.mean))

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore :meth:`state_dict`."""
        for name, mean in vars(self.mean).items():
            mean.copy_(state[name])


def _nested(state: GateState) -> GateState:
    state = state.map(torch.detach)
    weight_bits, activation_bits = map(nested_gates, (state.weight_bits, state.activation_bits))
    return GateState(weight_bits, activation_bits, state.groups)


def _rounded(shares: Tensor) -> list[float]:
    return [round(share, 4) for share in shares.tolist()]
