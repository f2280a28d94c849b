"""The common start of every stage; :mod:`sbs.stages.recording` is the common end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sbs.config.scale import validated
from sbs.config.settings import DataSettings, Normalization, RuntimeSettings, TrainSettings
from sbs.cost.trace import trace_layers
from sbs.data.augmentation import Augmentation
from sbs.data.dataset_files import load_dataset
from sbs.data.feeding import eval_batches, train_batches
from sbs.data.interface import TrainingBatches
from sbs.errors import SBSError
from sbs.networks import build_network, get_spec
from sbs.nn.convolution import accelerate
from sbs.provenance.code import source_digest
from sbs.provenance.files import sha256_of_file
from sbs.registry.code import stage_modules
from sbs.registry.costs import cost_model
from sbs.runtime import checkpoints, processes
from sbs.runtime.device import choose_device
from sbs.runtime.progress import Reporter
from sbs.runtime.seeding import derive_seed, seed_everything, use_deterministic_algorithms
from sbs.training.evaluation import Accuracy, evaluate
from sbs.training.loop import Task, fit
from sbs.training.state import Progression


@dataclass(frozen=True)
class Job:
    """The name of a run, its settings, and the folder of its state."""

    network: str
    method: str
    variant: str
    seed: int
    scale: str
    resume: Path
    settings: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Short name for logs."""
        return f"{self.network} {self.method} {self.variant} seed {self.seed}"


class StageRun:
    """Settings, device, data, and the plain network with its layers, for any stage."""

    def __init__(
        self,
        stage: Literal["pretrain", "search", "finetune"],
        job: Job,
        data: Path,
        inputs: Mapping[str, Path],
        *,
        method_name: str | None = None,
    ) -> None:
        """Check the settings, read the data, build the plain network.

        Args:
            stage: name of the stage.
            job: the run.
            data: the dataset file.
            inputs: other files that decide the result, by name; that of the cost comes besides.
            method_name: method of a search; its code decides the result too.
        """
        self.stage, self.job = stage, job
        resource = job.settings.get("search", {}).get("resource")
        self.modules = stage_modules(stage, job.network, method_name, resource)
        inputs = {**inputs, **_cost_file(resource)}
        self.data_settings = self.section("data", DataSettings)
        self.runtime = self.section("runtime", RuntimeSettings)
        self.device = choose_device(self.runtime.device)
        use_deterministic_algorithms(self.device)
        self.dataset = load_dataset(data).holding_out(self.data_settings.held_out)
        if self.dataset.name != self.data_settings.dataset:
            raise SBSError(
                f"{data}: contains {self.dataset.name}, but data.dataset is "
                f"{self.data_settings.dataset}; run `sbs fetch {self.data_settings.dataset}`"
            )
        self.inputs = {name: sha256_of_file(path) for name, path in inputs.items()}
        self.spec = get_spec(job.network)
        self.image = self.dataset.image
        seed_everything(derive_seed(job.seed, "weights"))
        self.model = accelerate(build_network(job.network, self.dataset.classes, self.image[0]))
        self.shapes = trace_layers(self.model, self.image)
        self.prunables = self.spec.prunables(self.model)
        self.reporter = Reporter(job.title)

    def section(self, name: str, kind: type[Any]) -> Any:
        """One section of the settings, validated.

        Raises:
            SBSError: the section is missing, or one of its keys is wrong.
        """
        if name not in self.job.settings:
            raise SBSError(f"--settings: missing section {name!r}")
        return validated(kind, self.job.settings[name], f"--settings {name}")

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the result; a state with another identity is not resumed."""
        return {
            "network": self.job.network,
            "method": self.job.method,
            "seed": self.job.seed,
            "settings": dict(self.job.settings),
            "inputs": self.inputs,
            "dataset": self.dataset.digest,
            "code": source_digest(*self.modules),
        }

    def to_device(self, model: nn.Module) -> nn.Module:
        """Move a model to the device, in the memory format of the settings."""
        if self.runtime.channels_last:
            model = model.to(memory_format=torch.channels_last)
        return model.to(self.device)

    def normalize_as(self, normalization: Normalization | None, source: str) -> None:
        """Use the normalisation that the initial weights need; None keeps that of the dataset.

        Raises:
            SBSError: the number of channels differs; the message names ``source``.
        """
        if normalization is not None:
            self.dataset = self.dataset.normalized_by(normalization, source)

    def save_weights(self, state: Mapping[str, Tensor], path: Path) -> None:
        """Write weights, with the normalisation of the images they were trained on.

        Of several processes, the first one writes.
        """
        if processes.is_first():
            checkpoints.save_weights(state, path, self.dataset.normalization)

    def train_batches(self, batch_size: int) -> TrainingBatches:
        """Batches of augmented training images."""
        return train_batches(
            self.dataset,
            batch_size=batch_size,
            augmentation=Augmentation.of(self.data_settings),
            seed=self.job.seed,
            device=self.device,
            channels_last=self.runtime.channels_last,
        )

    def accuracy(self, model: nn.Module) -> Accuracy:
        """Accuracy on the test images."""
        channels_last = self.runtime.channels_last
        batches = eval_batches(self.dataset, device=self.device, channels_last=channels_last)
        return evaluate(model, batches, self.device)

    def fit(self, task: Task, settings: TrainSettings) -> Progression:
        """Train a task to the end of its schedule, or resume it."""
        return fit(
            task,
            self.train_batches(settings.batch_size),
            settings,
            self.runtime,
            device=self.device,
            seed=self.job.seed,
            resume=self.job.resume,
            identity=self.identity,
            reporter=self.reporter,
        )


def _cost_file(resource: str | None) -> dict[str, Path]:
    """The file of a cost model, by the name that records have for it."""
    file = cost_model(resource).file if resource else None
    return {} if file is None else {"costs": file}
