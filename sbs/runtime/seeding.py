"""Seeds. Each is derived from its purpose; no random state is carried between steps."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed that depends only on ``parts``; the same on every machine."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_everything(seed: int) -> None:
    """Seed PyTorch (all devices), NumPy and ``random``."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def own_random_states(*, cuda: bool) -> Iterator[None]:
    """Give the caller's generators their states back at the end, also after an error.

    Args:
        cuda: whether GPUs may be used inside; if they are in use already, theirs are kept anyway.
    """
    devices = range(torch.cuda.device_count()) if cuda or torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices, device_type="cuda"):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def use_deterministic_algorithms(device: torch.device) -> None:
    """Make PyTorch choose reproducible algorithms on a GPU, or fail where it has none.

    On a CPU a job with one thread is reproducible without it, and the switch would cost one second
    of imports.
    """
    if device.type == "cpu":
        return
    # cuBLAS reads this variable at start. Without it PyTorch refuses CUDA matrix products.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
