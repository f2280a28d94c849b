"""DQ (Uhlich et al. 2020), case U3: learns step sizes and ranges with the weights, in one stage.

Bitwidths follow from steps and ranges, so the size of the network is differentiable. The loss
penalises a size above the allowed one. DQ constrains the memory of weights and of activations, not
bit operations. The result is the network of the last epoch that kept both limits (the authors take
the epoch with the best validation accuracy among those).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from sbs.cost.exact import policy_cost
from sbs.cost.reach import Reach
from sbs.errors import SBSError
from sbs.methods.context import SearchContext, SearchResult
from sbs.methods.dq import DQSettings
from sbs.nn.quantizers.dq import dq_network
from sbs.policy import FULL_PRECISION, LayerPolicy, Policy
from sbs.surgery.dq import fit_steps, kilobytes, layer_bits, quantizers
from sbs.surgery.intervals import InputSample, sample_inputs, sample_rectified
from sbs.surgery.networks import plain_state
from sbs.training.batch import Batch, size_of
from sbs.training.recipe import cross_entropy, sgd

FIRST_BITS = 8
"""The image is not quantized further; it already has 8 bits."""


def search(context: SearchContext) -> SearchResult:
    """Train once; return the policy and the weights."""
    settings = context.section(DQSettings)
    share = _share_of_full(context)
    model = _start(context, settings)
    task = DQTask(model, settings, share)
    progression = context.fit(task, settings, context.make_batches(settings.batch_size))
    if task.fitting is not None:
        model.load_state_dict(task.fitting)
    else:
        context.reporter.line(
            f"no epoch kept the size limits of {context.settings.target}; using the last network "
            "(see 'excess' in the history). Try a larger dq.margin, or more dq.epochs"
        )
    bits = layer_bits(model, context.image, FIRST_BITS)
    layers = {
        name: LayerPolicy(weight_bits=bits[name][0], activation_bits=bits[name][1])
        for name in context.layer_names
    }
    policy = Policy(network=context.spec.name, quantizer=context.method.quantizer, layers=layers)
    return SearchResult(policy, plain_state(model), None, progression)


def _start(context: SearchContext, settings: DQSettings) -> nn.Module:
    """DQ's network; with fitted steps if the intervals of the other methods are fitted too."""
    fitted = context.settings.interval_bits is not None
    samples = _samples(context, settings) if fitted else {}
    signed = context.spec.signed_inputs(context.model)
    model = dq_network(context.model, settings.start_bits, signed)
    if fitted:
        fit_steps(model, samples, settings.start_bits)
    return model


def _samples(context: SearchContext, settings: DQSettings) -> dict[str, InputSample]:
    """Samples of what the quantizers of activations will read, from the plain network."""
    images, _ = context.make_batches(settings.batch_size).first_batch()
    return sample_rectified(context.model, images) | sample_inputs(context.model, images)


class DQTask:
    """The training as a task of :func:`sbs.training.loop.fit`."""

    def __init__(self, model: nn.Module, settings: DQSettings, share: float) -> None:
        """Set up the optimizer.

        Args:
            model: network of :func:`sbs.nn.quantizers.dq.dq_network`.
            settings: schedule and penalties.
            share: allowed size divided by the size of the full-precision network.
        """
        self.model, self.settings, self.share = model, settings, share
        self.optimizers: Sequence[Optimizer] = [sgd(_groups(model, settings), settings)]
        self.fitting: dict[str, Tensor] | None = None
        self._sizes: dict[str, Tensor] = {}
        self._batch = 1

    def before_forward(self, iteration: int) -> None:
        """Clamp steps and ranges to their limits."""
        for quantizer in quantizers(self.model):
            quantizer.project()

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy plus ``λ relu(S - S_0)^2`` for weights and for activations.

        S_0 is the allowed size minus a margin; the square pulls S only from above.
        """
        entropy = cross_entropy(self.model, batch)
        self._batch = size_of(batch)
        total = entropy
        for weights, penalty in (
            (True, self.settings.weight_penalty),
            (False, self.settings.activation_penalty),
        ):
            size, allowed = self.sizes(weights)
            self._sizes[_side(weights)] = size.detach()
            aim = (1 - self.settings.margin) * allowed
            total = total + penalty * F.relu(size - aim) ** 2
        return total

    def sizes(self, weights: bool) -> tuple[Tensor, float]:
        """Size of weights or activations in KB, and the allowed size."""
        elements = sum(
            quantizer.elements / (1 if weights else self._batch)
            for quantizer in quantizers(self.model)
            if quantizer.weights == weights
        )
        allowed = self.share * FULL_PRECISION * elements / (8 * 1024)
        return kilobytes(self.model, self._batch, weights=weights), allowed

    @torch.no_grad()
    def epoch_summary(self) -> dict[str, float]:
        """Sizes, and the larger relative excess; save the network if both limits are kept."""
        for quantizer in quantizers(self.model):
            quantizer.project()
        found = {side: self.sizes(side == _side(True)) for side in self._sizes}
        excess = max(float(size) / allowed - 1 for size, allowed in found.values())
        if excess <= 0:
            self.fitting = {
                name: value.detach().clone() for name, value in self.model.state_dict().items()
            }
        sizes = {f"{side}_kb": float(size) for side, (size, _) in found.items()}
        return sizes | {"excess": excess}

    def state_dict(self) -> dict[str, Any]:
        """The last network that kept both limits."""
        return {"fitting": self.fitting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.fitting = state["fitting"]


def _groups(model: nn.Module, settings: DQSettings) -> list[dict[str, Any]]:
    """Parameter groups: weights; steps and ranges with their own learning rate."""
    scalars = [p for quantizer in quantizers(model) for p in quantizer.parameters()]
    known = {id(parameter) for parameter in scalars}
    weights = [parameter for parameter in model.parameters() if id(parameter) not in known]
    rate = settings.quantizer_rate * settings.learning_rate
    return [{"params": weights}, {"params": scalars, "lr": rate}]


def _side(weights: bool) -> str:
    return "weights" if weights else "activations"


def _share_of_full(context: SearchContext) -> float:
    """Memory of the target divided by that of full precision; a 'k-bit' target means memory."""
    target = context.settings.target
    if target is None:
        raise SBSError("search.target: DQ needs a target; give for example '4-bit'")
    cost = Reach(context.spec.name, context.shapes, (), "memory", FULL_PRECISION, None).cost(target)
    full = context.uniform_policy(FULL_PRECISION)
    share = cost / policy_cost(context.shapes, (), full, "memory")
    if share > 1:
        raise SBSError(
            f"search.target: {target.text!r} is more memory than at full precision; "
            "DQ constrains memory, so give 'k-bit', 'x full' or a number of bytes"
        )
    return share
