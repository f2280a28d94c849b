"""Start a command as several processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

OPTION = "--processes"
STARTED = "TORCHELASTIC_RUN_ID"
"""Environment variable that torchrun gives to the processes it starts."""


def replace_by_torchrun(argv: Sequence[str]) -> None:
    """Replace this process by torchrun, if the command asks for several processes.

    Torchrun starts the same command in each of them. It ends them all when one fails.

    Args:
        argv: the command, with its program.
    """
    number = processes_of(argv)
    if STARTED in os.environ or number < 2:
        return
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    # Without "--", torchrun takes --start of a command for a short form of one of its own options.
    command = [*start, "--nproc-per-node", str(number), "--no-python", "--", *argv]
    os.execv(command[0], command)


def processes_of(argv: Sequence[str]) -> int:
    """Number of processes that a command asks for; 1 also for a mistake, which it will name."""
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name == OPTION:
            number = value if equals else following
            return int(number) if number.isdecimal() else 1
    return 1
