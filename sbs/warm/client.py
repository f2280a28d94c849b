"""Ask the server to run a command."""

from __future__ import annotations

import os
import socket
import sys

from sbs.warm import protocol


def run_in_server(argv: list[str]) -> int | None:
    """Exit status of the command, run in a fork of the server; None if it has to run here.

    The fork ends when this process does, however that ends. A fork that dies without an exit status
    (no memory, for example) counts as failed.

    Args:
        argv: as ``sys.argv``.
    """
    path = os.environ.get(protocol.VARIABLE)
    if path is None:
        return None
    request = protocol.Request(argv, os.getcwd(), dict(os.environ), protocol.program())
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
            protocol.send(connection, request)
        except OSError:  # no server, or not ready yet
            return None
        status = _answer(connection)
    if status == protocol.REFUSED:
        return None
    if status is None:
        print("sbs: the process of this command died; was there enough memory?", file=sys.stderr)
        return 1
    return status


def _answer(connection: socket.socket) -> int | None:
    try:
        answer = connection.recv(1)
    except OSError:
        return None
    return answer[0] if answer else None
