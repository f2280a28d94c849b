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
    number = _wanted(argv)
    if STARTED in os.environ or not number.isdecimal() or int(number) < 2:
        return  # started already, one process, or a mistake that the command names
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*start, "--nproc-per-node", number, "--no-python", *argv]
    os.execv(command[0], command)


def _wanted(argv: Sequence[str]) -> str:
    """Value of the option, as one word or as two; empty without it."""
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name == OPTION:
            return value if equals else following
    return ""
