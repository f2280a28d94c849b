"""A process that has imported everything, and forks to run commands."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from sbs.warm import protocol

PARENT_CHECK_SECONDS = 1.0


def serve(path: Path, parent: int, main: Callable[[], None]) -> None:
    """Answer requests until the process that started this one is gone.

    Call it in a process without threads, after the imports.

    Args:
        path: socket to listen on; its folder must belong to this user alone.
        parent: number of the process that started this one; it may be gone before this call.
        main: runs the command in ``sys.argv``.
    """
    sources = _sources()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks need nobody to wait for them
    gc.freeze()  # a fork then shares these objects, instead of copying them when it collects
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(128)
        listener.settimeout(PARENT_CHECK_SECONDS)
        while os.getppid() == parent:
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                _fork(listener, connection, sources, main)
    path.unlink(missing_ok=True)
    path.parent.rmdir()


def _fork(
    listener: socket.socket,
    connection: socket.socket,
    sources: Mapping[str, tuple[int, int]],
    main: Callable[[], None],
) -> None:
    """Handle one request in a fork, so that a slow client keeps nobody waiting."""
    sys.stdout.flush()
    if os.fork():
        connection.close()
        return
    status = 1
    try:
        listener.close()
        connection.settimeout(None)
        status = _handled(connection, sources, main)
    except BaseException:  # nothing may return into the server's loop
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            connection.send(bytes([status]))
        os._exit(status)


def _handled(
    connection: socket.socket,
    sources: Mapping[str, tuple[int, int]],
    main: Callable[[], None],
) -> int:
    request, streams = protocol.receive(connection)
    if request.program != protocol.program() or sources != _sources():
        return protocol.REFUSED
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _end_with(connection)
    for stream, wanted in zip(streams, protocol.STREAMS, strict=True):
        os.dup2(stream, wanted)
        os.close(stream)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.argv = request.argv
    return _status_of(main)


def _end_with(connection: socket.socket) -> None:
    """Let the kernel end this process when the client's end of the connection closes."""
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(connection, fcntl.F_GETFL)
    fcntl.fcntl(connection, fcntl.F_SETFL, flags | os.O_ASYNC)


def _status_of(main: Callable[[], None]) -> int:
    """Exit status of ``main``, as the interpreter would have it."""
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _sources() -> dict[str, tuple[int, int]]:
    """Date and size of the files of our modules: an edited program is not the same program."""
    import sbs

    folder = Path(sbs.__file__).parent
    found = {}
    for path in folder.rglob("*"):
        if path.suffix in (".py", ".cpp", ".h"):
            facts = path.stat()
            found[str(path)] = facts.st_mtime_ns, facts.st_size
    return found
