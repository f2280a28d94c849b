"""What the first use of the package takes in a new process, beside PyTorch's own import."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

PYTORCH = "import torch"
USES = ("sbs.inspect", "sbs.compress")
_CODE = """
import time
started = time.perf_counter()
import torch
imported = time.perf_counter()
import sbs
{use}
print(imported - started, time.perf_counter() - imported)
"""


def measure(repeats: int) -> dict[str, float]:
    """Median seconds of PyTorch's import, and of what each first use imports after it.

    Args:
        repeats: processes for each use.
    """
    seconds: dict[str, list[float]] = {name: [] for name in (PYTORCH, *USES)}
    for _ in range(repeats):
        for use in USES:
            command = [sys.executable, "-c", _CODE.format(use=use)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            of_pytorch, rest = map(float, done.stdout.split())
            seconds[PYTORCH].append(of_pytorch)
            seconds[use].append(rest)
    return {name: median(values) for name, values in seconds.items()}
