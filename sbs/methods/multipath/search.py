"""Multi-path search: DNAS (Wu et al. 2018), and SBS-Q without bit sharing (Table 5).

Every searched convolution has one path per bitwidth, each with its own weights. The output is a
mixture of the paths: a Gumbel softmax of logits, with a falling temperature. In every epoch the
weights learn on one part of the training images, then the logits on the rest. At the end, policies
are sampled from the logits. The result is the sample with the best accuracy on the logits' images,
with the weights of its paths. (The paper of DNAS trains every sampled network and keeps the best;
here only this one is fine-tuned, like the policy of every other method.)

In DNAS the loss of the logits is the cross-entropy times a power of the cost. To first order this
adds a multiple of the log cost, which is used here: then its weight can be steered to a target as
in SBS. The paper of DNAS gives no values for its constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from sbs.config.settings import SearchSettings
from sbs.data.interface import TrainingBatches
from sbs.methods.context import SearchContext, SearchResult
from sbs.methods.multipath import MultipathSettings
from sbs.methods.multipath.space import MultiPathSpace
from sbs.methods.penalty import FixedPenalty, SteeredPenalty
from sbs.runtime.seeding import derive_seed
from sbs.training.batch import Batch
from sbs.training.recipe import cross_entropy, sgd


def search(context: SearchContext) -> SearchResult:
    """Search with one path per bitwidth.

    Args:
        context: network, data and settings.
    """
    multipath = context.section(MultipathSettings)
    target = context.target_cost()
    space = MultiPathSpace(context, context.method.quantizer)
    weight_batches, logit_batches = _split(context, multipath.weight_share)
    task = MultiPathTask(
        space, context.settings, multipath, target, len(weight_batches), len(logit_batches)
    )
    progression = context.fit(task, batches=Alternating(weight_batches, logit_batches))
    policy = space.best_policy(logit_batches, context, multipath.samples, target)
    return SearchResult(policy, space.state_of(policy), target, progression, task.trajectory)


class Alternating:
    """In every epoch, first the weights' batches, then the logits' batches."""

    def __init__(self, weights: TrainingBatches, logits: TrainingBatches) -> None:
        self.weights, self.logits = weights, logits

    def __len__(self) -> int:
        """Number of batches per epoch."""
        return len(self.weights) + len(self.logits)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images (B, C, H, W) and labels (B,)."""
        yield from self.weights.epoch(epoch)
        yield from self.logits.epoch(epoch)


class MultiPathTask:
    """The search as a task of :func:`sbs.training.loop.fit`."""

    def __init__(
        self,
        space: MultiPathSpace,
        settings: SearchSettings,
        multipath: MultipathSettings,
        target: float | None,
        weight_steps: int,
        logit_steps: int,
    ) -> None:
        """Set up the optimizers.

        Args:
            space: network with all paths.
            settings: learning rate of the weights, number of epochs.
            multipath: settings of the multi-path search.
            target: cost to steer to, or None for the fixed penalty in ``settings``.
            weight_steps: iterations per epoch that train weights; they come first.
            logit_steps: iterations per epoch that train logits.
        """
        self.space, self.model = space, space.model
        self.settings, self.multipath = settings, multipath
        self.weight_steps, self.epoch_steps = weight_steps, weight_steps + logit_steps
        self.trajectory: list[dict[str, Any]] = []
        self._logits = [layer.logits for layer in space.layers.values()]
        known = {id(logits) for logits in self._logits}
        self._weights = [p for p in self.model.parameters() if id(p) not in known]
        rate = multipath.logit_learning_rate
        adam = Adam(self._logits, lr=rate, weight_decay=multipath.logit_weight_decay)
        adam.param_groups[0]["initial_lr"] = rate
        self.optimizers: Sequence[Optimizer] = [sgd([{"params": self._weights}], settings), adam]
        self.warmup_epochs = int(multipath.warmup * settings.epochs)
        self._logit_total = max(1, (settings.epochs - self.warmup_epochs) * logit_steps)
        device = self._logits[0].device
        self.penalty: FixedPenalty | SteeredPenalty = FixedPenalty(settings.penalty, device)
        if target is not None:
            start = float(space.expected_cost(space.probabilities()))
            self.penalty = SteeredPenalty(
                start, target, settings.ramp, 0.0, self._logit_total, device
            )
        self._iteration, self._steered = 0, -1

    @property
    def trains_logits(self) -> bool:
        """Whether this iteration trains the logits; in the warm-up all train the weights."""
        epoch, step = divmod(self._iteration, self.epoch_steps)
        return epoch >= self.warmup_epochs and step >= self.weight_steps

    def before_forward(self, iteration: int) -> None:
        """Select the parameters that learn in this iteration, and draw the mixtures."""
        self._iteration = iteration
        for parameters, turn in (
            (self._weights, not self.trains_logits),
            (self._logits, self.trains_logits),
        ):
            for parameter in parameters:
                parameter.requires_grad_(turn)
        for layer in self.space.layers.values():
            layer.sample(self.temperature)

    @property
    def temperature(self) -> float:
        """Temperature of the Gumbel softmax; it falls exponentially over the search."""
        first, last = self.multipath.first_temperature, self.multipath.last_temperature
        progress = self._iteration / (self.settings.epochs * self.epoch_steps)
        return float(first * (last / first) ** progress)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy; for the logits plus λ times the log of the expected cost."""
        entropy = cross_entropy(self.model, batch)
        if not self.trains_logits:
            return entropy
        likely = self.space.expected_cost(self.space.probabilities())
        if self._iteration != self._steered:  # else it is another part of the same batch
            self._steered = self._iteration
            self.penalty(likely, self._logit_progress())
        penalty = self.penalty.value
        cost = self.space.expected_cost(self.space.mixtures())
        return entropy + (penalty * cost.log()).to(entropy.dtype)

    def _logit_progress(self) -> float:
        epoch, step = divmod(self._iteration, self.epoch_steps)
        logit_steps = self.epoch_steps - self.weight_steps
        done = (epoch - self.warmup_epochs) * logit_steps + step - self.weight_steps
        return done / self._logit_total

    def epoch_summary(self) -> dict[str, float]:
        """Expected cost under the logits, and the weight λ of the cost."""
        probabilities = self.space.probabilities()
        cost = float(self.space.expected_cost(probabilities))
        names, likely = list(self.space.layers), probabilities.tolist()
        self.trajectory.append(
            {
                "iteration": self._iteration,
                "cost": cost,
                "penalty": float(self.penalty.value),
                "probabilities": dict(zip(names, likely, strict=True)),
            }
        )
        return {
            "cost": cost,
            "penalty": float(self.penalty.value),
            "temperature": self.temperature,
        }

    def state_dict(self) -> dict[str, Any]:
        """λ and the trajectory so far."""
        return {"penalty": self.penalty.state_dict(), "trajectory": self.trajectory}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.penalty.load_state_dict(state["penalty"])
        self.trajectory = state["trajectory"]


def _split(context: SearchContext, weight_share: float) -> tuple[TrainingBatches, TrainingBatches]:
    """Training images for weights and for logits; a random split that depends on the seed."""
    images = context.image_batches.images
    generator = torch.Generator().manual_seed(derive_seed(context.seed, "split"))
    order = torch.randperm(images, generator=generator)
    cut = round(weight_share * images)
    return context.image_batches.part(order[:cut]), context.image_batches.part(order[cut:])
