"""The processes of a job that trains on several devices: one process each, started by torchrun.

Every process holds the whole network and works on its share of each batch. What depends on the
whole batch is combined here, so that all processes take the same decisions. With one process the
functions return what they are given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch import distributed as dist

from sbs.runtime.seeding import derive_seed


@contextmanager
def joined() -> Iterator[None]:
    """Join the other processes of torchrun, if it has started this one, until the job ends."""
    if started() == 1:
        yield
        return
    dist.init_process_group()
    try:
        yield
    finally:
        dist.destroy_process_group()


def started() -> int:
    """Number of processes that torchrun has started for this job; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", 1)) if dist.is_torchelastic_launched() else 1


def count() -> int:
    """Number of processes that work on this job."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this process is the one that writes files and messages."""
    return rank() == 0


def device_index() -> int:
    """Which of this machine's GPUs belongs to this process, if there are several."""
    return int(os.environ["LOCAL_RANK"])


def share(start: int, stop: int) -> slice:
    """The places from ``start`` to ``stop`` that belong to this process: every N-th one."""
    return slice(start + rank(), stop, count())


def total(value: Tensor) -> Tensor:
    """Sum over the processes, without gradient."""
    if count() == 1:
        return value
    summed = value.detach().clone()
    dist.all_reduce(summed)
    return summed


def stacked(value: Tensor) -> Tensor:
    """The values of all processes, (N, ...), without gradient."""
    if count() == 1:
        return value[None]
    everyone = [torch.empty_like(value) for _ in range(count())]
    dist.all_gather(everyone, value.detach().contiguous())
    return torch.stack(everyone)


def equalize(tensors: list[Tensor]) -> None:
    """Give every process the first one's values, in place."""
    if count() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


@contextmanager
def own_noise(device: torch.device, seed: int, *place: int) -> Iterator[None]:
    """Draw other random numbers in every process, as dropout of different images needs.

    Afterwards the generators are as before, so that common draws stay common.
    """
    if count() == 1:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive_seed(seed, "process", rank(), *place))
        yield
