"""Reference costs: the seconds of a job from its settings, before any run here has finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from sbs.cost.facts import network_facts
from sbs.registry.datasets import dataset
from sbs.registry.methods import Settings, Workload, method

OVERHEAD = 1.0
"""Seconds of a training job besides its training: data, network, evaluation. Measured in forks of a
process that has imported PyTorch (:mod:`sbs.warm`)."""

OTHER = 10.0
"""Seconds of any other job, for instance of a notebook."""


@dataclass(frozen=True)
class Speed:
    """Cost of a plain training step, which is forward, backward and update.

    Attributes:
        layer: seconds per layer and step, whatever its size.
        mmac: seconds per million multiply-accumulate operations of the forward pass.
        source: what the two numbers are of, and how far to trust them, in words.
    """

    layer: float
    mmac: float
    source: str


CPU = Speed(
    layer=0.6e-3,
    mmac=36e-6,
    source="Times are those of one core of an AMD EPYC; yours can take half as long, or twice.",
)
"""Fits the training times in results/measured; tests/test_estimates.py compares them."""

GPU = Speed(
    layer=0.6e-3,
    mmac=0.5e-6,
    source="Times on a GPU are a guess: none has been measured yet.",
)
"""As many operators to launch as on a CPU, and hardly any time for their arithmetic."""


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


def reference_seconds(run: Run, speed: Speed, threads: int = 1) -> float:
    """Seconds of a training job on the reference machine.

    Args:
        run: the job.
        speed: the reference machine.
        threads: CPU threads of the job.

    Raises:
        KeyError: its settings lack a key that decides how long it trains.
    """
    data = run.settings["data"]
    layers, mmacs = _size(run.network, data["dataset"])
    images = dataset(data["dataset"]).training_images - int(data.get("held_out", 0))
    batch = int(run.settings[run.stage]["batch_size"])
    per_image = layers * speed.layer / batch + mmacs * speed.mmac / threads
    return OVERHEAD + per_image * EFFORTS[run.stage](run, Workload(images, layers))


@cache
def _size(network: str, images: str) -> tuple[int, float]:
    """Layers of a network, and its million multiply-accumulate operations for an image."""
    known = dataset(images)
    layers = network_facts(network, known.image, known.classes).layers
    return len(layers), sum(layer.macs for layer in layers) / 1e6


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
