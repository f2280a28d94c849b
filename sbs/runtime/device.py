"""The device to compute on, its name and its memory use."""

from __future__ import annotations

import platform
import resource
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, TypeAlias

import torch

from sbs.config.settings import RuntimeSettings
from sbs.errors import SBSError
from sbs.runtime import processes

Device: TypeAlias = Literal["auto", "cpu", "cuda"]


def choose_device(wanted: Device) -> torch.device:
    """The device to compute on; each process of a job has a GPU of its own.

    Args:
        wanted: ``runtime.device`` of the settings; ``auto``: CUDA if there is one.

    Raises:
        SBSError: ``cuda`` is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SBSError("runtime.device: cuda, but no CUDA device is usable; set auto or cpu")
    use_cuda = wanted != "cpu" and torch.cuda.is_available()
    if not use_cuda or processes.count() == 1:
        return torch.device("cuda" if use_cuda else "cpu")
    device = torch.device("cuda", processes.device_index())
    torch.cuda.set_device(device)
    return device


def autocast(settings: RuntimeSettings, device: torch.device) -> AbstractContextManager[object]:
    """bf16 autocast if the settings ask for it."""
    if settings.precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def device_name(device: torch.device) -> str:
    """Model of the GPU or the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory: allocated on a GPU, or resident memory of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        # The peak of getrusage starts with that of the parent process; this one does not.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if platform.system() == "Darwin" else 1024)


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work, so that timings are correct."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
