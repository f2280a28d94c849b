"""The device of the tests marked ``device``, which run on any: `make gpu-check` takes a GPU."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from tests.emulated_gpu import GPU, emulated_gpu

VARIABLE = "SBS_TEST_DEVICE"
"""Environment variable: ``cpu`` (the default), ``cuda``, or ``emulated`` for a GPU that is none."""

NAMED = os.environ.get(VARIABLE, "cpu")
DEVICE = GPU if NAMED == "emulated" else torch.device(NAMED)


def default_device() -> AbstractContextManager[object]:
    """Make the tensors of a test on the device."""
    if NAMED == "emulated":
        return emulated_gpu(default=True)
    return nullcontext() if NAMED == "cpu" else DEVICE
