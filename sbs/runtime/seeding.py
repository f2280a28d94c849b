"""Seeds: derived from what they are for, never carried from one step to the next."""

from __future__ import annotations

import hashlib
import os
import random

import numpy as np
import torch


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed that depends on ``parts`` alone, the same on every machine."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_everything(seed: int) -> None:
    """Seed PyTorch (all devices), NumPy and ``random``."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def use_deterministic_algorithms(device: torch.device) -> None:
    """Make PyTorch choose reproducible algorithms on a GPU, and fail where it has none.

    On a CPU, jobs of one thread are reproducible as they are, and the switch costs a second of
    imports.
    """
    if device.type == "cpu":
        return
    # cuBLAS reads this when it starts; without it CUDA matrix products are refused.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
