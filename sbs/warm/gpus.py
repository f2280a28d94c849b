"""Which of a machine's GPUs a training job uses, when several jobs run beside each other."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sbs.warm.torchrun import STARTED, processes_of

VISIBLE = "CUDA_VISIBLE_DEVICES"
TRAINING = ("pretrain", "search", "finetune")
DEVICES = Path("/dev")


def claim_gpus(argv: Sequence[str]) -> list[str]:
    """Show a training job only GPUs that no other job of this user has claimed.

    Each GPU has a file that its job keeps locked until it ends, also when it becomes torchrun. If
    fewer GPUs are free than the job wants, all of them stay visible, and jobs share.

    Args:
        argv: the command, with its program.

    Returns:
        the GPUs that were claimed.
    """
    gpus = visible_gpus()
    if not set(argv[1:2]) & set(TRAINING) or STARTED in os.environ or len(gpus) < 2:
        return []
    wanted = processes_of(argv)
    claimed: dict[str, int] = {}
    for gpu in gpus:
        if len(claimed) < wanted and (lock := _locked(gpu)) is not None:
            claimed[gpu] = lock
    if len(claimed) < wanted:
        for lock in claimed.values():
            os.close(lock)
        return []
    os.environ[VISIBLE] = ",".join(claimed)
    return list(claimed)


def visible_gpus() -> list[str]:
    """Names of the GPUs as CUDA_VISIBLE_DEVICES has them, which others may have set."""
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        return [gpu.strip() for gpu in visible.split(",") if gpu.strip()]
    found = [device for device in DEVICES.glob("nvidia*") if device.name[6:].isdecimal()]
    return [str(number) for number in range(len(found))]


def _locked(gpu: str) -> int | None:
    """A descriptor that holds the lock of a GPU for this process and its children, or None."""
    name = re.sub(r"\W", "-", f"sbs-gpu-{os.getuid()}-{gpu}")
    lock = os.open(Path(tempfile.gettempdir(), f"{name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    os.set_inheritable(lock, True)
    return lock
