"""Where the states of a compression are kept, and what they are recognised by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor


@contextmanager
def states_folder(folder: Path | None) -> Iterator[Path]:
    """The folder of the states; without one that stays, a temporary one."""
    if folder is not None:
        yield folder
        return
    with TemporaryDirectory(prefix="sbs-") as temporary:
        yield Path(temporary)


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names and values of a ``state_dict``."""
    found = hashlib.sha256()
    for name, value in state.items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
