"""What client and server say to each other."""

from __future__ import annotations

import json
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

VARIABLE = "SBS_SERVER"
"""Environment variable with the path of the server's socket."""

STREAMS = (0, 1, 2)
REFUSED = 255
"""Answer of a server that is not the same program; no command of ours ends with it."""

_LENGTH = struct.Struct("!I")


@dataclass(frozen=True)
class Request:
    """A command to run: as ``sys.argv``, with its folder, environment and interpreter."""

    argv: list[str]
    folder: str
    environment: Mapping[str, str]
    program: list[str]


def program() -> list[str]:
    """What has to be the same for two processes to be the same program."""
    import sbs

    return [sys.executable, sys.prefix, str(sbs.__file__), *sys.path]


def send(connection: socket.socket, request: Request) -> None:
    """Send a request and this process's standard streams."""
    content = json.dumps(asdict(request)).encode()
    socket.send_fds(connection, [_LENGTH.pack(len(content))], STREAMS)
    connection.sendall(content)


def receive(connection: socket.socket) -> tuple[Request, list[int]]:
    """Receive a request and copies of the client's standard streams.

    Raises:
        ConnectionError: the client is gone.
    """
    head, streams, _, _ = socket.recv_fds(connection, _LENGTH.size, len(STREAMS))
    content = _exactly(connection, _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0)
    if not content:
        raise ConnectionError("the client is gone")
    return Request(**json.loads(content)), list(streams)


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts, missing = [], size
    while missing:
        part = connection.recv(missing)
        if not part:
            return b""
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
