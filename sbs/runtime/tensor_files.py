"""Files of tensors that carry their own checksum: weights, datasets, exported networks.

The file is safetensors. Its metadata has two texts: ``facts``, JSON of what else there is to
know, and ``sha256``, the checksum over these facts and all tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sbs.errors import SBSError
from sbs.provenance.files import atomic_write

FACTS, CHECKSUM = "facts", "sha256"


def save_tensors(tensors: Mapping[str, Tensor], path: Path, facts: Mapping[str, Any]) -> None:
    """Write tensors and facts, whole or not at all. Equal contents give equal files.

    Args:
        tensors: names and tensors, all on the CPU.
        path: file to write.
        facts: what JSON can hold.
    """
    dense = {name: tensor.contiguous() for name, tensor in tensors.items()}
    text = json.dumps(facts)
    metadata = {FACTS: text, CHECKSUM: _checksum(text, dense)}
    with atomic_write(path) as temporary:
        save_file(dense, temporary, metadata=metadata)
        _sort_metadata(temporary)


def read_tensors(path: Path, what: str, remedy: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Facts and tensors of a file that :func:`save_tensors` wrote.

    Args:
        path: the file.
        what: what it is to the user, for the error.
        remedy: what to do about a damaged one, for the error.

    Raises:
        SBSError: the file is missing, truncated, altered, or not such a file.
    """
    if not Path(path).is_file():
        raise SBSError(f"{path}: no such {what}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        if metadata[CHECKSUM] != _checksum(metadata[FACTS], tensors):
            raise ValueError("its checksum does not match")
        return json.loads(metadata[FACTS]), tensors
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        reason = "it has no checksum" if isinstance(error, KeyError | TypeError) else error
        raise SBSError(f"{path}: damaged {what} ({reason}); {remedy}") from error


def has_checksum(path: Path) -> bool:
    """Whether :func:`save_tensors` wrote a file, as far as its header tells. Damage may hide it.

    One of the two texts suffices, so that one damaged byte makes no file look like a stranger's.
    """
    try:
        with safe_open(path, "pt") as file:
            return bool({FACTS, CHECKSUM} & (file.metadata() or {}).keys())
    except (SafetensorError, OSError):
        return False


def _checksum(facts: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over all that a file holds: facts, and name, type, shape and bytes of each tensor."""
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        content = tensors[name]
        digest.update(f"|{name} {content.dtype} {tuple(content.shape)}|".encode())
        digest.update(content.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _sort_metadata(path: Path) -> None:
    """Put the metadata in order; safetensors writes it in another order each time."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        file.seek(8)
        file.write(text.ljust(length))
