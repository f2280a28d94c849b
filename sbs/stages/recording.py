"""The end of every stage: write the record, and remove the saved state of the run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sbs.config.scale import canonical_json
from sbs.cost.exact import policy_cost
from sbs.policy import FULL_PRECISION, Policy, uniform_policy
from sbs.provenance.files import sha256_of_file, sha256_of_text
from sbs.provenance.records import RunRecord, git_revision, software_versions
from sbs.runtime import processes
from sbs.runtime.device import device_name, peak_memory_bytes
from sbs.stages.stage_run import StageRun
from sbs.training.state import Progression, discard


def finish(
    stage: StageRun,
    policy: Policy,
    progression: Progression,
    outputs: Sequence[Path],
    record: Path,
    **outcome: Any,
) -> None:
    """Write the record of a stage after its other outputs, and remove the state of the run.

    Of several processes, the first one writes. Times and memory are its own.

    Args:
        stage: the stage.
        policy: bitwidths and kept filters of its network.
        progression: time and history.
        outputs: the other files of the stage.
        record: file of the record.
        outcome: fields of :class:`sbs.provenance.records.RunRecord` that only this stage has.
    """
    if not processes.is_first():
        return
    digests = {os.path.relpath(path, record.parent): sha256_of_file(path) for path in outputs}
    run_record(stage, policy, progression, outputs=digests, **outcome).save(record)
    discard(stage.job.resume)


def finish_trained(
    stage: StageRun,
    policy: Policy,
    progression: Progression,
    outputs: Sequence[Path],
    record: Path,
    model: nn.Module,
) -> None:
    """Like :func:`finish`, with the accuracy of the trained network on the test images."""
    accuracy = stage.accuracy(model)
    outcome = {"top1": accuracy.top1, "top5": accuracy.top5}
    finish(stage, policy, progression, outputs, record, **outcome)
    stage.reporter.line(f"top-1 {accuracy.top1:.2f} % top-5 {accuracy.top5:.2f} %")


def run_record(
    stage: StageRun,
    policy: Policy,
    progression: Progression,
    **outcome: Any,
) -> RunRecord:
    """The record of a stage; arguments as for :func:`finish`."""
    job = stage.job
    return RunRecord(
        stage=stage.stage,
        scale=job.scale,
        network=job.network,
        method=job.method,
        variant=job.variant,
        seed=job.seed,
        settings=dict(job.settings),
        settings_sha256=sha256_of_text(canonical_json(job.settings)),
        inputs=stage.inputs,
        dataset=stage.dataset.name,
        dataset_sha256=stage.dataset.digest,
        normalization=stage.dataset.normalization.model_dump(),
        git_revision=git_revision(),
        versions=software_versions(),
        device=device_name(stage.device),
        threads=torch.get_num_threads(),
        processes=processes.count(),
        wall_seconds=progression.seconds,
        device_hours=progression.seconds / 3600 * processes.count(),
        peak_memory_bytes=peak_memory_bytes(stage.device),
        interruptions=progression.interruptions,
        history=progression.history,
        **_costs(stage, policy),
        **outcome,
    )


def _costs(stage: StageRun, policy: Policy) -> dict[str, Any]:
    """Cost of the policy and of full precision, in both recorded resources."""
    full = uniform_policy(stage.job.network, list(policy.layers), FULL_PRECISION)

    def cost(which: Policy, resource: str) -> float:
        return policy_cost(stage.shapes, stage.prunables, which, resource)

    return {
        "bops": cost(policy, "bops"),
        "full_precision_bops": cost(full, "bops"),
        "memory_bytes": cost(policy, "memory"),
        "full_precision_memory_bytes": cost(full, "memory"),
    }
