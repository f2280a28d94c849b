"""Stages in double precision, for one process or several: see test_processes.py.

Quantization turns rounding errors into whole levels, and gates turn them into decisions. In double
precision rounding errors are too small for that, so the runs can be compared step by step.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sbs.data.batches import EvalBatches, TrainBatches
from sbs.data.file_batches import FileEvalBatches, FileTrainBatches
from sbs.runtime import processes
from sbs.stages import finetune, pretrain, search
from sbs.stages.stage_run import Job, StageRun

Batches = Iterator[tuple[Tensor, Tensor]]

STAGES: dict[str, Any] = {
    "pretrain": lambda job, files: pretrain.run(job, *files, Path()),
    "search": lambda job, files: search.run(job, *files),
    "finetune": lambda job, files: finetune.run(job, *files),
}


def main() -> None:
    """Run the stages that the argument lists in JSON, each with the files that it names."""
    _use_double_precision()
    torch.set_num_threads(1)
    with processes.joined():
        for stage, network, method, settings, resume, *files in json.loads(sys.argv[1]):
            chosen = json.loads(Path(settings).read_text())
            job = Job(network, method, "default", 0, "test", Path(resume), chosen)
            STAGES[stage](job, [Path(file) for file in files])


def _use_double_precision() -> None:
    """Networks and images in double precision."""
    plain_init = StageRun.__init__
    for batches, name in (
        (TrainBatches, "epoch"),
        (EvalBatches, "__iter__"),
        (FileTrainBatches, "epoch"),
        (FileEvalBatches, "__iter__"),
    ):
        setattr(batches, name, _doubled(getattr(batches, name)))

    def init(self: StageRun, *args: Any, **options: Any) -> None:
        plain_init(self, *args, **options)
        self.model.double()
        for module in self.model.modules():
            if isinstance(module, nn.Dropout):  # each process draws its own
                module.p = 0.0

    StageRun.__init__ = init  # type: ignore[method-assign]


def _doubled(plain: Callable[..., Batches]) -> Callable[..., Batches]:
    def batches(*args: Any) -> Batches:
        for images, labels in plain(*args):
            yield images.double(), labels

    return batches


if __name__ == "__main__":
    main()
