"""Loss of networks with the same bits everywhere, or with one tensor at fewer bits."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sbs.config.settings import TrainSettings
from sbs.data.interface import TrainingBatches
from sbs.errors import SBSError
from sbs.methods.context import SearchContext
from sbs.methods.sensitivity import SensitivitySettings
from sbs.methods.sensitivity.allocation import changed
from sbs.policy import Policy
from sbs.runtime import processes
from sbs.runtime.device import autocast, synchronize
from sbs.runtime.seeding import derive_seed
from sbs.surgery.intervals import fit_intervals, sample_inputs
from sbs.surgery.networks import quantized_layers, quantized_network
from sbs.training.recipe import cross_entropy, learning_rate_factor, sgd
from sbs.training.spread import portions, spread

INTERVAL = {"weight_bits": "weight_interval", "activation_bits": "activation_interval"}


@dataclass(frozen=True)
class Lowered:
    """A tensor and its bitwidth: a layer's weights or its input."""

    layer: str
    side: str
    bits: int


class Meter:
    """Trains networks for a few steps, and measures their loss on images set aside."""

    def __init__(self, context: SearchContext, settings: SensitivitySettings) -> None:
        """Split the training images, and sample the inputs of M0's layers.

        Raises:
            SBSError: no training images would be left to train on.
        """
        self.context, self.settings = context, settings
        images = context.image_batches.images
        if settings.images >= images:
            raise SBSError(
                f"sensitivity.images: {settings.images} of {images} training images are set "
                "aside, so none are left to train on; give a smaller number"
            )
        generator = torch.Generator().manual_seed(derive_seed(context.seed, "set aside"))
        order = torch.randperm(images, generator=generator)
        self.aside = context.image_batches.part(order[: settings.images])
        self.training = context.image_batches.part(order[settings.images :])
        self._inputs = sample_inputs(context.model, self.training.first_batch()[0])
        self._base_bits, self._base = 0, dict[str, Tensor]()

    def policy(self, bits: int, lowered: Lowered | None) -> Policy:
        """The policy with ``bits`` in all layers but the ends, and one tensor lower."""
        policy = self.context.uniform_policy(bits)
        if lowered is None:
            return policy
        return changed(policy, lowered.layer, lowered.side, lowered.bits)

    def loss_of(self, bits: int, lowered: Lowered | None) -> float:
        """Mean cross-entropy after training with ``bits`` everywhere, and then with ``lowered``.

        The training with the same bits everywhere is done once for all tensors.
        """
        if bits != self._base_bits:
            self._base, self._base_bits = self._trained_base(bits), bits
        model = self._network(self.policy(bits, lowered))
        model.load_state_dict(self._base)
        if lowered is not None:
            self._fit(model, lowered)
        self._train(model, self.settings.steps)
        return self._loss(model)

    def state_dict(self) -> dict[str, Any]:
        """The trained network of the current bitwidth."""
        return {"bits": self._base_bits, "state": self._base}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self._base_bits, self._base = state["bits"], state["state"]

    def _network(self, policy: Policy) -> nn.Module:
        return quantized_network(copy.deepcopy(self.context.model), self.context.spec, policy)

    def _trained_base(self, bits: int) -> dict[str, Tensor]:
        model = self._network(self.policy(bits, None))
        fit_intervals(quantized_layers(model), self._inputs)
        self._train(model, self.settings.base_epochs * len(self.training))
        return {name: value.detach().clone() for name, value in model.state_dict().items()}

    def _fit(self, model: nn.Module, lowered: Lowered) -> None:
        """Fit the interval of the lowered tensor alone."""
        layer = quantized_layers(model)[lowered.layer]
        others = [name for side, name in INTERVAL.items() if side != lowered.side]
        kept = {name: getattr(layer, name).detach().clone() for name in others}
        fit_intervals({lowered.layer: layer}, self._inputs)
        with torch.no_grad():
            for name, value in kept.items():
                getattr(layer, name).copy_(value)

    def _train(self, model: nn.Module, steps: int) -> None:
        context, model = self.context, model.train()
        schedule = self._schedule()
        optimizer = sgd([{"params": list(model.parameters())}], schedule)
        network = spread(model, context.runtime, context.device)
        for step, batch in enumerate(_first(steps, self.training)):
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * learning_rate_factor(schedule, step / steps)
            optimizer.zero_grad(set_to_none=True)
            for part, weight in portions(batch, network, context.runtime, context.device):
                with autocast(context.runtime, context.device):
                    loss = cross_entropy(network, part)
                loss = loss * weight
                loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        synchronize(context.device)

    def _schedule(self) -> TrainSettings:
        """The search's optimizer, with the steps at hand as its only epoch."""
        changes = {"epochs": 1, "schedule": "cosine", "learning_rate": self.settings.learning_rate}
        return self.context.settings.model_copy(update=changes)

    @torch.inference_mode()
    def _loss(self, model: nn.Module) -> float:
        model.eval()
        total = torch.zeros((), dtype=torch.float64, device=self.context.device)
        for images, labels in self.aside.epoch(0):
            total += F.cross_entropy(model(images), labels, reduction="sum")
        return float(processes.total(total)) / self.aside.images


def _first(steps: int, batches: TrainingBatches) -> Iterator[tuple[Tensor, Tensor]]:
    """The first batches, over as many epochs as it takes."""
    return islice(chain.from_iterable(map(batches.epoch, count())), steps)
