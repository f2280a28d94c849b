"""From the words of the command line to a running stage."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch

from sbs.config.scale import settings_from
from sbs.runtime.processes import joined, started
from sbs.stages.stage_run import Job


def job_of(
    stage: str,
    network: str,
    method: str,
    variant: str,
    seed: int,
    scale: str,
    settings: str,
    record: Path,
    resume: Path | None,
    threads: int,
) -> Job:
    """The job of a stage, whose processes share its threads.

    Args:
        stage: name of the stage.
        network: name of the network.
        method: name of the method.
        variant: label of the row of the sheet.
        seed: seed of everything random.
        scale: name of the scale, for the record.
        settings: a scale file, or the stage's sections as JSON.
        record: file of the run record.
        resume: folder of the state; None: beside the record.
        threads: threads of all processes.

    Raises:
        SBSError: the settings are not valid.
    """
    torch.set_num_threads(max(1, threads // started()))
    resolved = settings_from(settings, stage, method)
    folder = resume or record.parent / "resume"
    return Job(network, method, variant, seed, scale, folder, resolved)


def run_together(stage: str, job: Job, *files: Path | None) -> None:
    """Run a stage, together with the other processes of the job.

    Args:
        stage: name of the stage, a module of :mod:`sbs.stages`.
        job: the job.
        files: inputs and outputs, as the stage's function ``run`` takes them.
    """
    with joined():
        import_module(f"sbs.stages.{stage}").run(job, *files)
