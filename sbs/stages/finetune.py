"""Fine-tuning at the policy's bitwidths, and the accuracy of weight files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sbs.config.settings import FinetuneSettings, check_precision
from sbs.data.dataset_files import load_dataset
from sbs.data.feeding import eval_batches
from sbs.data.images import Dataset
from sbs.export.packed import is_export
from sbs.export.packed import load as load_export
from sbs.networks import NetworkSpec, get_spec
from sbs.policy import Policy
from sbs.registry.methods import method
from sbs.runtime import checkpoints
from sbs.runtime.device import choose_device
from sbs.stages.recording import finish_trained
from sbs.stages.stage_run import Job, StageRun
from sbs.surgery.networks import plain_state
from sbs.surgery.weights import with_state
from sbs.training.classification import Classification
from sbs.training.evaluation import Accuracy, evaluate
from sbs.training.state import Progression


def run(job: Job, data: Path, policy: Path, start: Path, weights: Path, record: Path) -> None:
    """Train and evaluate the network of a policy, with its pruned filters removed."""
    stage = StageRun("finetune", job, data, {"policy": policy, "start": start})
    settings = settings_of(stage)
    chosen = Policy.load(policy, job.network)
    stage.normalize_as(checkpoints.read_normalization(start), str(start))
    needed = method(job.method).finetunes
    images = None
    if needed and settings.fit_intervals:
        images, _ = stage.train_batches(settings.batch_size).first_batch()
    model = stage.to_device(with_weights(stage.model, stage.spec, chosen, start, fit_on=images))
    progression = Progression()
    if needed:
        check_precision(stage.runtime.precision, [chosen.highest_bits], str(policy))
        progression = stage.fit(Classification(model, settings), settings)
    stage.save_weights(plain_state(model), weights)
    finish_trained(stage, chosen, progression, (weights,), record, model)


def settings_of(stage: StageRun) -> FinetuneSettings:
    """The settings of fine-tuning for the method of the run."""
    settings: FinetuneSettings = stage.section("finetune", FinetuneSettings)
    known = method(stage.job.method)
    changes: dict[str, Any] = {"epochs": known.finetune_epochs(settings.model_dump())}
    if known.own_start:  # the search has set the intervals as the method wants them
        changes["fit_intervals"] = False
    return settings.model_copy(update=changes)


def evaluate_file(network: str, data: Path, weights: Path, policy: Path | None) -> Accuracy:
    """Accuracy of a weights file: plain network, network of a policy, or exported network.

    Images are normalised as the file says; if it says nothing, as in the dataset.
    """
    device = choose_device("auto")
    dataset = load_dataset(data)
    model = _network(network, dataset, weights, policy)
    normalization = checkpoints.read_normalization(weights)
    if normalization is not None:
        dataset = dataset.normalized_by(normalization, str(weights))
    return evaluate(model.to(device), eval_batches(dataset, device=device), device)


def _network(network: str, dataset: Dataset, weights: Path, policy: Path | None) -> nn.Module:
    if is_export(weights):
        return load_export(weights)
    spec = get_spec(network)
    model = spec.build(dataset.classes, dataset.image[0])
    if policy is not None:
        return with_weights(model, spec, Policy.load(policy, network), weights)
    checkpoints.load_into(model, checkpoints.read_weights(weights), str(weights))
    return model


def with_weights(
    model: nn.Module,
    spec: NetworkSpec,
    policy: Policy,
    start: Path,
    *,
    fit_on: Tensor | None = None,
) -> nn.Module:
    """The network of ``policy`` with the weights of ``start``, and its intervals if it has any.

    Args:
        model: the plain network.
        spec: description of the network.
        policy: bitwidths and kept filters.
        start: unpruned weights, or weights of the compressed network itself.
        fit_on: images (N, C, H, W) to fit the intervals on, after the weights are loaded; needs
            unpruned weights. None: take the intervals of ``start``, or 1.
    """
    state = checkpoints.read_weights(start)
    if fit_on is None:
        return with_state(model, spec, policy, state, str(start))
    images = fit_on.cpu()
    return with_state(model, spec, policy, state, str(start), fit_by=lambda plain: plain(images))
