"""Reference costs: the seconds of a job from its settings, before any run here has finished."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from sbs.config.settings import ResourceSettings
from sbs.cost.facts import network_facts
from sbs.registry.datasets import dataset
from sbs.registry.methods import Settings, Workload, method

OVERHEAD = 1.0
"""Seconds of a training job besides its training: data, network, evaluation. Measured in forks of a
process that has imported PyTorch (:mod:`sbs.warm`)."""

OTHER = 10.0
"""Seconds of any other job, for instance of a notebook."""


@dataclass(frozen=True)
class Size:
    """What a network computes for an image.

    Attributes:
        layers: number of its layers.
        mmacs: million multiply-accumulate operations.
        outputs: million outputs of its layers.
    """

    layers: int
    mmacs: float
    outputs: float


@dataclass(frozen=True)
class Speed:
    """Cost of a plain training step, which is forward, backward and update.

    Attributes:
        layer: seconds per layer and step, whatever its size.
        mmac: seconds per million multiply-accumulate operations of the forward pass.
        output: seconds per million outputs of layers: norms, activations and depthwise layers take
            as long as their tensors are large.
        source: what these numbers are of, and how far to trust them, in words.
        devices: how many cores or GPUs divide a step among them.
        known: training images a second of one device, of networks for which they are known.
    """

    layer: float
    mmac: float
    source: str
    output: float = 0.0
    devices: int = 1
    known: Mapping[str, float] = field(default_factory=dict)

    def of_image(self, network: str, size: Size, batch: int) -> float:
        """Seconds for an image of a batch.

        Args:
            network: network name.
            size: how much it computes.
            batch: images of a batch.
        """
        if network in self.known:
            return 1 / (self.known[network] * self.devices)
        shared = size.mmacs * self.mmac + size.outputs * self.output
        return size.layers * self.layer / batch + shared / self.devices


CPU = Speed(
    layer=1.0e-3,
    mmac=13e-6,
    output=5.7e-3,
    source="Times are those of one core of an AMD EPYC; yours can take half as long, or twice.",
)
"""Fits the training times in results/measured; tests/test_estimates.py compares them."""

GPU = Speed(
    layer=0.6e-3,
    mmac=0.68e-6,
    source="Times are of a V100 in single precision, from one public figure: ResNet-50, 357 images "
    "a second. Give yours as resources.images_per_second.",
)
"""As many operators to launch as on a CPU. The arithmetic is that of 2,858 images a second on eight
V100, in single precision, in the README of NVIDIA's DeepLearningExamples for ResNet-50 v1.5."""


def speed_of(needs: ResourceSettings) -> Speed:
    """The reference machine for what a training job asks for."""
    if not needs.gpu:
        return replace(CPU, devices=needs.threads)
    speed = replace(GPU, devices=needs.gpu, known=needs.images_per_second)
    if needs.images_per_second:
        names = ", ".join(needs.images_per_second)
        given = f"Times of {names} are by resources.images_per_second."
        return replace(speed, source=f"{given} For other networks: {GPU.source}")
    return speed


@dataclass(frozen=True)
class Run:
    """A training job: what it is and its settings.

    Attributes:
        stage: ``pretrain``, ``search`` or ``finetune``.
        network: network name.
        method: method name; of no meaning for a pretraining.
        variant: label of the row of the sheet.
        settings: the sections of the scale that the stage gets.
    """

    stage: str
    network: str
    method: str
    variant: str
    settings: Settings


def reference_seconds(run: Run, speed: Speed) -> float:
    """Seconds of a training job on the reference machine.

    Args:
        run: the job.
        speed: the reference machine.

    Raises:
        KeyError: its settings lack a key that decides how long it trains.
    """
    data = run.settings["data"]
    size = _size(run.network, data["dataset"])
    images = dataset(data["dataset"]).training_images - int(data.get("held_out", 0))
    batch = int(run.settings[run.stage]["batch_size"])
    per_image = speed.of_image(run.network, size, batch)
    return OVERHEAD + per_image * EFFORTS[run.stage](run, Workload(images, size.layers))


@cache
def _size(network: str, images: str) -> Size:
    known = dataset(images)
    layers = network_facts(network, known.image, known.classes).layers
    outputs = sum(layer.out_channels * math.prod(layer.output_size) for layer in layers)
    return Size(len(layers), sum(layer.macs for layer in layers) / 1e6, outputs / 1e6)


def _pretraining(run: Run, workload: Workload) -> float:
    settings = run.settings["pretrain"]
    trains = run.network not in settings["checkpoints"]
    return float(settings["epochs"] * workload.images) if trains else 0.0


def _search(run: Run, workload: Workload) -> float:
    return method(run.method).search_effort(run.settings, workload)


def _finetuning(run: Run, workload: Workload) -> float:
    return method(run.method).finetune_epochs(run.settings["finetune"]) * workload.images


EFFORTS: Mapping[str, Callable[[Run, Workload], float]] = {
    "pretrain": _pretraining,
    "search": _search,
    "finetune": _finetuning,
}
"""Number of images that each stage trains on, in plain training steps."""
