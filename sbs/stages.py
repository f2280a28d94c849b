"""The three training stages, from files to files: pretrain, search, finetune.

Each reads its inputs, trains (or goes on with) its run, and writes its outputs at the end, whole
or not at all, the record last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sbs import checkpoints
from sbs.config import (
    DataSettings,
    FinetuneSettings,
    PretrainSettings,
    RuntimeSettings,
    SearchSettings,
    canonical_json,
    validated,
)
from sbs.cost import LayerShape, policy_cost, trace_layers
from sbs.data import Augmentation, Dataset, EvalBatches, TrainBatches, load_dataset
from sbs.devices import choose_device, device_name, peak_memory_bytes
from sbs.engine import Progression, discard, fit
from sbs.errors import SBSError
from sbs.evaluate import Accuracy, evaluate
from sbs.finetune import Classification
from sbs.methods import SearchContext, get_method
from sbs.models import NetworkSpec, build_network, get_spec
from sbs.policy import FULL_PRECISION, Policy, uniform_policy
from sbs.progress import Reporter
from sbs.records import (
    RunRecord,
    git_revision,
    sha256_of_file,
    sha256_of_text,
    software_versions,
)
from sbs.seeding import derive_seed, seed_everything, use_deterministic_algorithms
from sbs.surgery import plain_state, quantized_network, split_intervals


@dataclass(frozen=True)
class Job:
    """Which run this is, and where its state lives."""

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


class Workbench:
    """What every stage sets up first: settings, device, data, the plain network and its layers."""

    def __init__(self, job: Job, data: Path, inputs: Mapping[str, Path]) -> None:
        self.job = job
        self.data_settings = self.section("data", DataSettings)
        self.runtime = self.section("runtime", RuntimeSettings)
        use_deterministic_algorithms()
        self.device = choose_device(self.runtime)
        self.dataset = load_dataset(data)
        if self.dataset.name != self.data_settings.dataset:
            raise SBSError(
                f"{data}: holds {self.dataset.name}, but data.dataset is "
                f"{self.data_settings.dataset}; run `sbs fetch {self.data_settings.dataset}`"
            )
        self.inputs = {name: sha256_of_file(path) for name, path in inputs.items()}
        self.spec = get_spec(job.network)
        self.image = tuple(self.dataset.train.images.shape[1:])
        seed_everything(derive_seed(job.seed, "weights"))
        self.model = build_network(job.network, self.dataset.classes, self.image[0])
        self.shapes = layers_of(self.model, self.dataset)
        self.prunables = self.spec.prunables(self.model)
        self.reporter = Reporter(job.title)

    def section(self, name: str, kind: type[Any]) -> Any:
        """One section of the settings, checked."""
        if name not in self.job.settings:
            raise SBSError(f"--settings: missing section {name!r}")
        return validated(kind, self.job.settings[name], f"--settings {name}")

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the result of this stage; a state of another identity is not resumed."""
        return {
            "network": self.job.network,
            "method": self.job.method,
            "seed": self.job.seed,
            "settings": dict(self.job.settings),
            "inputs": self.inputs,
            "dataset": self.dataset.digest,
        }

    def to_device(self, model: nn.Module) -> nn.Module:
        """Model on the device, in the memory format of the settings."""
        if self.runtime.channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model.to(self.device)

    def train_batches(self, batch_size: int) -> TrainBatches:
        """Augmented training images."""
        settings = self.data_settings
        return TrainBatches(
            self.dataset,
            batch_size=batch_size,
            augmentation=Augmentation(settings.crop_padding, settings.flip),
            seed=self.job.seed,
            device=self.device,
            channels_last=self.runtime.channels_last,
        )

    def accuracy(self, model: nn.Module) -> Accuracy:
        """Accuracy on the test images."""
        batches = EvalBatches(
            self.dataset, device=self.device, channels_last=self.runtime.channels_last
        )
        return evaluate(model, batches, self.runtime, self.device)

    def record(
        self,
        stage: str,
        policy: Policy,
        progression: Progression,
        **outcome: Any,
    ) -> RunRecord:
        """The record of this run."""
        full = uniform_policy(self.job.network, list(policy.layers), FULL_PRECISION)

        def cost(which: Policy, resource: str) -> float:
            return policy_cost(self.shapes, self.prunables, which, resource)

        return RunRecord(
            stage=stage,  # type: ignore[arg-type]
            scale=self.job.scale,
            network=self.job.network,
            method=self.job.method,
            variant=self.job.variant,
            seed=self.job.seed,
            settings=dict(self.job.settings),
            settings_sha256=sha256_of_text(canonical_json(self.job.settings)),
            inputs=self.inputs,
            dataset=self.dataset.name,
            dataset_sha256=self.dataset.digest,
            git_revision=git_revision(),
            versions=software_versions(),
            device=device_name(self.device),
            threads=torch.get_num_threads(),
            bops=cost(policy, "bops"),
            full_precision_bops=cost(full, "bops"),
            memory_bytes=cost(policy, "memory"),
            full_precision_memory_bytes=cost(full, "memory"),
            wall_seconds=progression.seconds,
            device_hours=progression.seconds / 3600,
            peak_memory_bytes=peak_memory_bytes(self.device),
            interruptions=progression.interruptions,
            history=progression.history,
            **outcome,
        )


def layers_of(model: nn.Module, dataset: Dataset) -> tuple[LayerShape, ...]:
    """Layer shapes of a network on the dataset's images."""
    channels, height, width = dataset.train.images.shape[1:]
    return trace_layers(model, (channels, height, width))


def pretrain(job: Job, data: Path, weights: Path, record: Path, cache: Path) -> None:
    """Train the full-precision network, or take the public checkpoint that the settings name."""
    bench = Workbench(job, data, {})
    settings: PretrainSettings = bench.section("pretrain", PretrainSettings)
    progression = Progression()
    checkpoint = settings.checkpoints.get(job.network)
    if checkpoint is not None:
        path = checkpoints.obtain(checkpoint, cache)
        bench.inputs["checkpoint"] = sha256_of_file(path)
        checkpoints.load_into(bench.model, checkpoints.read_weights(path), str(path))
        model = bench.to_device(bench.model)
    else:
        model = bench.to_device(bench.model)
        progression = _fit(bench, Classification(model, settings), settings)
    accuracy = bench.accuracy(model)
    checkpoints.save_weights(plain_state(model), weights)
    full = uniform_policy(job.network, [shape.name for shape in bench.shapes], FULL_PRECISION)
    _finish(bench, "pretrain", full, progression, record, accuracy)


def search(
    job: Job, data: Path, pretrained: Path, policy: Path, weights: Path, record: Path
) -> None:
    """Find a policy with the job's method."""
    bench = Workbench(job, data, {"pretrained": pretrained})
    settings: SearchSettings = bench.section("search", SearchSettings)
    checkpoints.load_into(bench.model, checkpoints.read_weights(pretrained), str(pretrained))
    result = get_method(job.method)(
        SearchContext(
            spec=bench.spec,
            model=bench.to_device(bench.model),
            shapes=bench.shapes,
            batches=bench.train_batches(settings.batch_size),
            settings=settings,
            runtime=bench.runtime,
            device=bench.device,
            seed=job.seed,
            resume=job.resume,
            identity=bench.identity,
            reporter=bench.reporter,
        )
    )
    checkpoints.save_weights(result.state, weights)
    result.policy.save(policy)
    bench.record(
        "search",
        result.policy,
        result.progression,
        target=result.target,
        trajectory=result.trajectory,
    ).save(record)
    discard(job.resume)


def finetune(
    job: Job, data: Path, policy: Path, start: Path, weights: Path, record: Path
) -> None:
    """Train the network of a policy, its pruned filters gone, and measure it."""
    bench = Workbench(job, data, {"policy": policy, "start": start})
    settings: FinetuneSettings = bench.section("finetune", FinetuneSettings)
    chosen = Policy.load(policy)
    model = bench.to_device(_with_weights(bench.model, bench.spec, chosen, start))
    progression = _fit(bench, Classification(model, settings), settings)
    accuracy = bench.accuracy(model)
    checkpoints.save_weights(plain_state(model), weights)
    _finish(bench, "finetune", chosen, progression, record, accuracy)


def evaluate_file(network: str, data: Path, weights: Path, policy: Path | None) -> Accuracy:
    """Accuracy of a weights file: of the plain network, or of a policy's compressed one."""
    runtime = RuntimeSettings(device="auto", precision="fp32", channels_last=True)
    dataset = load_dataset(data)
    spec = get_spec(network)
    model = spec.build(dataset.classes, dataset.train.images.shape[1])
    if policy is not None:
        model = _with_weights(model, spec, Policy.load(policy), weights)
    else:
        checkpoints.load_into(model, checkpoints.read_weights(weights), str(weights))
    device = choose_device(runtime)
    return evaluate(model.to(device), EvalBatches(dataset, device=device), runtime, device)


def _with_weights(model: nn.Module, spec: NetworkSpec, policy: Policy, start: Path) -> nn.Module:
    """The network of ``policy`` with the weights, and intervals if there are any, of ``start``.

    Args:
        model: the plain network.
        spec: its description.
        policy: bitwidths and kept filters.
        start: unpruned weights, or those of the compressed network itself.
    """
    state = checkpoints.read_weights(start)
    plain, intervals = split_intervals(state)
    own = model.state_dict()
    unpruned = all(own[name].shape == plain[name].shape for name in own.keys() & plain.keys())
    if unpruned:
        checkpoints.load_into(model, plain, str(start))
    model = quantized_network(model, spec, policy)
    rest = intervals if unpruned else state
    checkpoints.load_into(model, model.state_dict() | rest, str(start))
    return model


def _fit(bench: Workbench, task: Classification, settings: Any) -> Progression:
    return fit(
        task,
        bench.train_batches(settings.batch_size),
        settings,
        bench.runtime,
        device=bench.device,
        seed=bench.job.seed,
        resume=bench.job.resume,
        identity=bench.identity,
        reporter=bench.reporter,
    )


def _finish(
    bench: Workbench,
    stage: str,
    policy: Policy,
    progression: Progression,
    record: Path,
    accuracy: Accuracy,
) -> None:
    outcome = {"top1": accuracy.top1, "top5": accuracy.top5}
    bench.record(stage, policy, progression, **outcome).save(record)
    bench.reporter.line(f"top-1 {accuracy.top1:.2f} % top-5 {accuracy.top5:.2f} %")
    discard(bench.job.resume)
