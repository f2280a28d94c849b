"""Training that is spread over the processes of a job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sbs.config.settings import RuntimeSettings
from sbs.nn.batch_norm import share_statistics
from sbs.runtime import processes
from sbs.training.batch import Batch, parts, size_of


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


def portions(
    batch: Batch, network: nn.Module, runtime: RuntimeSettings, device: torch.device
) -> Iterator[tuple[Batch, Tensor | float]]:
    """Parts of a process's batch that a step takes one after the other, each with its weight.

    The gradients of ``mean loss of the part * weight`` add up to those of the mean loss over the
    batch of all processes. The backward pass of a part has to come before the next part is asked
    for: only that of the last one averages the gradients over the processes.

    Args:
        batch: this process's share of the batch.
        network: result of :func:`spread`.
        runtime: number of parts, ``accumulation``.
        device: device of the batch.

    Raises:
        SBSError: the batch cannot be split.
    """
    mean_size = _mean_size(batch, device)
    waiting = min(runtime.accumulation, size_of(batch))
    for part in parts(batch, waiting):
        waiting -= 1
        with _without_average(network) if waiting else nullcontext():
            yield part, size_of(part) / mean_size


def _without_average(module: nn.Module) -> AbstractContextManager[None]:
    """Let gradients add up in each process; a backward pass outside of this averages the sums."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


def _mean_size(batch: Batch, device: torch.device) -> Tensor | int:
    """Items of a batch that a process has on average."""
    size = size_of(batch)
    if processes.count() == 1:
        return size
    own = torch.full((), size, device=device)
    return processes.total(own) / processes.count()


def weight(batch: Batch, device: torch.device) -> Tensor | float:
    """Weight of a mean over this process's share in the mean over all processes."""
    return size_of(batch) / _mean_size(batch, device)
