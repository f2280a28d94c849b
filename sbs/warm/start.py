"""Start the server for a workflow."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from sbs.warm import protocol


def start() -> None:
    """Start a server for the jobs of this process; it ends with this process.

    Jobs find it by an environment variable. Until it has imported everything, they run by
    themselves. The server is not in this process's group, so that an interrupt does not reach it
    before its jobs.
    """
    command = shutil.which("sbs")
    if command is None or not hasattr(os, "fork"):
        return
    path = Path(tempfile.mkdtemp(prefix="sbs-")) / "socket"
    os.environ[protocol.VARIABLE] = str(path)
    subprocess.Popen(
        [command, "serve", str(path), str(os.getpid())],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # its threads would not be in the forks
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
