"""A network with paths, the cost of each path, and the choice of one path per layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sbs.cost.exact import policy_cost
from sbs.cost.layers import LayerShape
from sbs.data.interface import TrainingBatches
from sbs.methods.context import SearchContext
from sbs.methods.penalty import BAND
from sbs.nn.multipath import MultiPathConv2d, QuantizedPath, multipath_layers
from sbs.policy import ENDS_BITS, Bitwidths, LayerPolicy, Policy
from sbs.registry.costs import cost_model
from sbs.runtime import processes
from sbs.runtime.seeding import derive_seed
from sbs.surgery.intervals import fit_intervals, fit_paths
from sbs.surgery.layers import layer_options
from sbs.surgery.networks import plain_state, quantized_layers, quantized_network

TRIES = 2000
"""Maximum number of policies to draw when looking for enough of them near the target."""


class MultiPathSpace:
    """The network with all paths, and the cost of each path."""

    def __init__(self, context: SearchContext, quantizer: str) -> None:
        """Replace the convolutions between the first and the last layer by multi-path ones."""
        spec, self.shapes = context.spec, context.shapes
        self.network, self.quantizer = spec.name, quantizer
        self.bitwidths = context.settings.bitwidths
        ends = context.uniform_policy(ENDS_BITS).model_copy(update={"quantizer": quantizer})
        inputs = None
        if context.settings.interval_bits is not None:
            inputs = context.sampled_inputs()
        plain = {
            name: layer
            for name, layer in context.model.named_modules()
            if name in context.inner_names and isinstance(layer, nn.Conv2d)
        }
        options = layer_options(context.model, ends)
        self.model = quantized_network(context.model, spec, ends, plain=plain)

        def paths(layer: nn.Conv2d, name: str) -> list[QuantizedPath]:
            return [QuantizedPath(layer.weight, bits, options[name]) for bits in self.bitwidths]

        self.layers = multipath_layers(self.model, list(plain), paths)
        self.model.to(context.device)
        if inputs is not None:
            fit_intervals(quantized_layers(self.model), inputs)
            fit_paths(self.layers, inputs)
        self._costs = _path_costs(self.shapes, self.layers, self.bitwidths, context)

    def expected_cost(self, mixtures: Tensor) -> Tensor:
        """Cost under mixtures (L, K): a scalar in the unit of the resource."""
        costs, fixed = self._costs
        return fixed + (costs * mixtures).sum()

    def mixtures(self) -> Tensor:
        """Mixtures (L, K) in this step."""
        return torch.stack([layer.mixture for layer in self.layers.values()])

    def probabilities(self) -> Tensor:
        """Softmax (L, K) of the logits, without gradient."""
        logits = torch.stack([layer.logits.detach() for layer in self.layers.values()])
        return logits.softmax(dim=1)

    def policy_of(self, chosen: Sequence[int]) -> Policy:
        """Policy with one chosen path per layer."""
        picked = dict(zip(self.layers, chosen, strict=True))

        def bits(name: str) -> int:
            return self.bitwidths[picked[name]] if name in picked else ENDS_BITS

        layers = {
            shape.name: LayerPolicy(weight_bits=bits(shape.name), activation_bits=bits(shape.name))
            for shape in self.shapes
        }
        return Policy(network=self.network, quantizer=self.quantizer, layers=layers)

    def state_of(self, policy: Policy) -> dict[str, Tensor]:
        """Weights and intervals of the policy's paths and of the other layers."""
        state = {
            name: value for name, value in plain_state(self.model).items() if ".paths." not in name
        }
        for name, layer in self.layers.items():
            state.pop(f"{name}.logits", None)
            path = self.bitwidths.index(policy.layers[name].weight_bits)
            for key, value in layer.chosen_state(path).items():
                state[f"{name}.{key}"] = value.detach().cpu().contiguous()
        return state

    def best_policy(
        self, batches: TrainingBatches, context: SearchContext, samples: int, target: float | None
    ) -> Policy:
        """The most accurate of ``samples`` sampled policies, on the logits' images."""
        generator = torch.Generator().manual_seed(derive_seed(context.seed, "policies"))

        def cost_of(chosen: Sequence[int]) -> float:
            policy = self.policy_of(chosen)
            return policy_cost(self.shapes, (), policy, context.settings.resource)

        probabilities = self.probabilities().cpu()
        candidates = sample_policies(probabilities, cost_of, target, samples, generator)
        scores = [self._accuracy(chosen, batches, context) for chosen in candidates]
        best = max(range(len(candidates)), key=scores.__getitem__)
        context.reporter.line(f"best of {len(candidates)} policies: {100 * scores[best]:.2f} %")
        return self.policy_of(candidates[best])

    @torch.no_grad()
    def _accuracy(
        self, chosen: Sequence[int], batches: TrainingBatches, context: SearchContext
    ) -> float:
        """Accuracy with one path per layer. Uses batch statistics: running ones are of mixtures."""
        for layer, path in zip(self.layers.values(), chosen, strict=True):
            layer.choose(path)
        saved = {name: value.clone() for name, value in self.model.named_buffers()}
        self.model.train()
        hits = sum(
            (self.model(images).argmax(1) == labels).sum()
            for images, labels in batches.epoch(context.settings.epochs)
        )
        assert isinstance(hits, Tensor)
        for name, value in self.model.named_buffers():
            value.copy_(saved[name])
        return int(processes.total(hits)) / batches.images


def sample_policies(
    probabilities: Tensor,
    cost_of: Callable[[Sequence[int]], float],
    target: float | None,
    samples: int,
    generator: torch.Generator,
) -> list[tuple[int, ...]]:
    """Draw different choices of one path per layer from the probabilities.

    With a target, a choice must cost at most the target and at least 95 % of it. If no draw does,
    the most probable choice is moved into that range, in steps that each lose the least
    probability.

    Args:
        probabilities: (L, K), paths in ascending order of their cost.
        cost_of: cost of a choice.
        target: maximum cost, or None.
        samples: number of choices wanted.
        generator: random generator for the draws.
    """
    found: dict[tuple[int, ...], None] = {}
    for _ in range(TRIES):
        drawn = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
        choice = tuple(int(path) for path in drawn)
        if target is None or (1 - BAND) * target <= cost_of(choice) <= target:
            found[choice] = None
        if len(found) == samples:
            break
    if not found:
        start = tuple(int(path) for path in probabilities.argmax(dim=1))
        assert target is not None
        found[_moved(start, probabilities, cost_of, target)] = None
    return list(found)


def _moved(
    choice: tuple[int, ...],
    probabilities: Tensor,
    cost_of: Callable[[Sequence[int]], float],
    target: float,
) -> tuple[int, ...]:
    logs = probabilities.clamp_min(1e-12).log()

    def steps(direction: int) -> list[tuple[float, tuple[int, ...]]]:
        """Choices with one layer moved by one path; the smallest loss of probability first."""
        moved = []
        for layer, path in enumerate(choice):
            if 0 <= path + direction < probabilities.shape[1]:
                loss = float(logs[layer, path] - logs[layer, path + direction])
                moved.append((loss, (*choice[:layer], path + direction, *choice[layer + 1 :])))
        return sorted(moved)

    while cost_of(choice) > target and (down := steps(-1)):
        choice = down[0][1]
    while cost_of(choice) < (1 - BAND) * target:
        fitting = [one for _, one in steps(1) if cost_of(one) <= target]
        if not fitting:
            break
        choice = fitting[0]
    return choice


def _path_costs(
    shapes: Sequence[LayerShape],
    layers: dict[str, MultiPathConv2d],
    bitwidths: Bitwidths,
    context: SearchContext,
) -> tuple[Tensor, Tensor]:
    """Cost of every path (L, K), and total cost of the layers without paths."""
    cost = cost_model(context.settings.resource).layer
    by_name = {shape.name: shape for shape in shapes}
    costs = [[float(cost(by_name[name], b, b)) for b in bitwidths] for name in layers]
    fixed = sum(cost(s, ENDS_BITS, ENDS_BITS) for s in shapes if s.name not in layers)
    fixed_cost = torch.tensor(float(fixed), dtype=torch.float64, device=context.device)
    return fixed_cost.new_tensor(costs), fixed_cost
