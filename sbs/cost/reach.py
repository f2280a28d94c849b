"""Costs of targets, and whether a method can reach them; needs only the network's shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sbs.config.target import Target
from sbs.cost.exact import policy_cost
from sbs.cost.layers import LayerShape, uniform_policy_of
from sbs.errors import SBSError
from sbs.networks.prunable import Prunable
from sbs.policy import Policy
from sbs.registry.costs import cost_model


@dataclass(frozen=True)
class Reach:
    """The range of costs that a method can reach on a network.

    Attributes:
        network: name of the network.
        layers: shapes of its layers, in forward order.
        prunables: its prunable convolutions.
        resource: name of the cost model.
        lowest_bits: lowest bitwidth that the method can give a layer.
        group_size: filters per pruning group, or None if the method does not prune.
    """

    network: str
    layers: Sequence[LayerShape]
    prunables: Sequence[Prunable]
    resource: str
    lowest_bits: int
    group_size: int | None

    def cost(self, target: Target) -> float:
        """Cost of a target, in the unit of the resource."""
        if target.reference_bits is None:
            return target.factor
        reference = uniform_policy_of(self.network, self.layers, target.reference_bits)
        return target.factor * self._cost(reference)

    def checked(self, target: Target) -> float:
        """Like :meth:`cost`, but check that the method can reach the target.

        Raises:
            SBSError: the cheapest network that the method can find costs more.
        """
        cost, lowest = self.cost(target), self.lowest()
        if lowest > cost:
            model = cost_model(self.resource)
            how = f"{self.lowest_bits} bits in every searched layer"
            if self.group_size is not None:
                how += " and one group of filters where they can be pruned"
            raise SBSError(
                f"search.target: {target.text!r} is {model.number(cost)} {model.unit}, but "
                f"{self.network} with {how} costs {model.number(lowest)}; give a larger target"
            )
        return cost

    def lowest(self) -> float:
        """Cost of the cheapest network that the method can find."""
        return self._cost(self._smallest())

    def _cost(self, policy: Policy) -> float:
        return policy_cost(self.layers, self.prunables, policy, self.resource)

    def _smallest(self) -> Policy:
        """The cheapest policy that the method can find."""
        policy = uniform_policy_of(self.network, self.layers, self.lowest_bits)
        if self.group_size is None:
            return policy
        filters = {layer.name: layer.out_channels for layer in self.layers}
        layers = dict(policy.layers)
        for prunable in self.prunables:
            count = filters[prunable.layer]
            fewest = min(self.group_size, count - (count - 1) // self.group_size * self.group_size)
            kept = tuple(range(fewest)) if fewest < count else None
            layers[prunable.layer] = layers[prunable.layer].model_copy(update={"kept": kept})
        return policy.model_copy(update={"layers": layers})
