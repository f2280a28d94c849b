"""Where all tools start: one trained network, its images, one recipe and one budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from torch import Tensor, nn

from benchmarks.steps import CPU, ROOT
from sbs.config.scale import Scale, load_scale
from sbs.config.settings import TrainSettings
from sbs.cost.exact import policy_cost
from sbs.cost.layers import LayerShape, prune_shapes, uniform_policy_of
from sbs.cost.trace import trace_layers
from sbs.data.augmentation import Augmentation
from sbs.data.batches import EvalBatches, TrainBatches
from sbs.data.dataset_files import load_dataset
from sbs.data.images import Dataset
from sbs.networks import build_network, get_spec
from sbs.networks.prunable import Prunable
from sbs.policy import LayerPolicy, Policy
from sbs.runtime import checkpoints
from sbs.training.evaluation import evaluate

NETWORK = "resnet20"
SCALE = ROOT / "config" / "cifar100-short.yaml"
DATA = ROOT / "data" / "cifar100.safetensors"
SEED = 0


@dataclass(frozen=True)
class Start:
    """The trained network and all that trains and judges it.

    Attributes:
        scale: recipe of the trainings.
        dataset: images and labels.
        state: weights of the trained network.
        shapes: its layers.
        prunables: its convolutions that can lose filters.
        epochs: budget of the search, and again of the fine-tuning.
    """

    scale: Scale
    dataset: Dataset
    state: Mapping[str, Tensor]
    shapes: tuple[LayerShape, ...]
    prunables: tuple[Prunable, ...]
    epochs: int

    @classmethod
    def open(cls, epochs: int, data: Path = DATA) -> Start:
        """Read weights and images.

        Raises:
            SBSError: one of them is missing or damaged.
        """
        scale = load_scale(SCALE)
        source = scale.pretrain.checkpoints[NETWORK]
        path = checkpoints.obtain(source, data.parent / "downloads")
        model = build_network(NETWORK, get_spec(NETWORK).classes, 3)
        dataset = load_dataset(data)
        return cls(
            scale,
            dataset,
            checkpoints.read_weights(path),
            trace_layers(model, dataset.image),
            get_spec(NETWORK).prunables(model),
            epochs,
        )

    def network(self) -> nn.Module:
        """The trained network, anew at each call."""
        model = build_network(NETWORK, self.dataset.classes, self.dataset.image[0])
        checkpoints.load_into(model, self.state, NETWORK)
        return model

    def recipe(self, epochs: int) -> TrainSettings:
        """Optimizer and schedule of the scale's fine-tuning, for so many epochs."""
        return self.scale.finetune.model_copy(update={"epochs": epochs})

    def batches(self, batch_size: int | None = None, *, channels_last: bool = True) -> TrainBatches:
        """Augmented training batches; None: of the recipe's size."""
        return TrainBatches(
            self.dataset,
            batch_size=batch_size or self.scale.finetune.batch_size,
            augmentation=Augmentation.of(self.scale.data),
            seed=SEED,
            device=CPU,
            channels_last=channels_last,
        )

    def calibration(self) -> list[Tensor]:
        """Unlabelled training images for tools that look at activations: ten batches of 50."""
        batches = self.batches(50, channels_last=False).epoch(0)
        return [images for images, _ in islice(batches, 10)]

    def top1(self, model: nn.Module, *, channels_last: bool) -> float:
        """Accuracy on the test images in percent."""
        images = EvalBatches(self.dataset, device=CPU, channels_last=channels_last)
        return evaluate(model, images, CPU).top1

    def target(self, level: int) -> float:
        """Bit operations of the network with so many bits everywhere but at its ends."""
        return self.cost(uniform_policy_of(NETWORK, self.shapes, level), "bops")

    def cost(self, policy: Policy, resource: str) -> float:
        """Cost of a policy by this project's count: ``bops``, or ``memory`` in bytes."""
        return policy_cost(self.shapes, self.prunables, policy, resource)

    def weight_bytes(self, policy: Policy) -> float:
        """Bytes of the weights of a policy, without scales and biases."""
        return sum(
            shape.weight_elements * policy.layers[shape.name].weight_bits / 8
            for shape in prune_shapes(self.shapes, self.prunables, policy)
        )

    def policy(self, bits: Mapping[str, tuple[int, int]]) -> Policy:
        """Policy of the bits that a tool chose.

        Args:
            bits: layer -> bits of its weights and of its inputs, for every layer.
        """
        return Policy(
            network=NETWORK,
            layers={
                shape.name: LayerPolicy(
                    weight_bits=bits[shape.name][0], activation_bits=bits[shape.name][1]
                )
                for shape in self.shapes
            },
        )

    @property
    def ends(self) -> tuple[str, ...]:
        """Names of the first and the last layer."""
        return tuple(shape.name for shape in self.shapes if shape.end)
