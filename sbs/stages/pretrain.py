"""The full-precision network M0."""

from __future__ import annotations

from pathlib import Path

from sbs.config.settings import PretrainSettings
from sbs.policy import FULL_PRECISION, uniform_policy
from sbs.provenance.files import sha256_of_file
from sbs.runtime import checkpoints
from sbs.stages.recording import finish_trained
from sbs.stages.stage_run import Job, StageRun
from sbs.training.classification import Classification
from sbs.training.state import Progression


def run(job: Job, data: Path, weights: Path, record: Path, cache: Path) -> None:
    """Train the full-precision network, or use the public checkpoint given in the settings."""
    stage = StageRun("pretrain", job, data, {})
    settings: PretrainSettings = stage.section("pretrain", PretrainSettings)
    progression = Progression()
    checkpoint = settings.checkpoints.get(job.network)
    if checkpoint is not None:
        path = checkpoints.obtain(checkpoint, cache)
        stage.inputs["checkpoint"] = sha256_of_file(path)
        key = f"pretrain.checkpoints.{job.network}.normalization"
        stage.normalize_as(checkpoint.normalization or checkpoints.read_normalization(path), key)
        checkpoints.load_into(stage.model, checkpoints.read_weights(path), str(path))
        model = stage.to_device(stage.model)
    else:
        model = stage.to_device(stage.model)
        progression = stage.fit(Classification(model, settings), settings)
    stage.save_weights(model.state_dict(), weights)
    full = uniform_policy(job.network, [shape.name for shape in stage.shapes], FULL_PRECISION)
    finish_trained(stage, full, progression, (weights,), record, model)
