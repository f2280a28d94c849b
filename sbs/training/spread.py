"""Training that is spread over the processes of a job."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sbs.config.settings import RuntimeSettings
from sbs.nn.batch_norm import share_statistics
from sbs.runtime import processes
from sbs.training.batch import Batch, size_of


def spread(module: nn.Module, runtime: RuntimeSettings, device: torch.device) -> nn.Module:
    """A module whose backward pass averages the gradients over the processes of the job.

    Its output must depend on all that gets a gradient. So a loss with terms besides the network's
    output has to be the output itself.

    Args:
        module: network or loss, on the device; its batch norms are changed.
        runtime: whether batch norms take the statistics of all processes.
        device: device of the module.
    """
    if processes.count() == 1:
        return module
    if runtime.sync_batch_norm:
        share_statistics(module)
    return DistributedDataParallel(
        module,
        device_ids=[device] if device.type == "cuda" else None,
        forward_sync_buffers=False,
        # Some take turns: gates of weights and of inputs, paths and logits.
        find_unused_parameters=True,
    )


def without_average(module: nn.Module) -> AbstractContextManager[None]:
    """Let gradients add up in each process; a backward pass outside of this averages the sums."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


def mean_size(batch: Batch, device: torch.device) -> Tensor | int:
    """Items of a batch that a process has on average.

    A process weighs the mean loss of some of its items by their number over this one. Then the
    average over the processes, of the sum over the parts, is the mean over the whole batch.
    """
    size = size_of(batch)
    if processes.count() == 1:
        return size
    own = torch.full((), size, device=device)
    return processes.total(own) / processes.count()


def weight(batch: Batch, device: torch.device) -> Tensor | float:
    """Weight of the mean loss of this process's whole share, see :func:`mean_size`."""
    return size_of(batch) / mean_size(batch, device)
