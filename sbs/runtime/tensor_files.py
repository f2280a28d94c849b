"""Files of tensors that carry their own checksum: weights, datasets, exported networks.

The format is safetensors. Its metadata has two texts: ``facts``, further information as JSON, and
``sha256``, the checksum over the facts and all tensors.
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
    """Write tensors and facts atomically. Equal contents give equal files.

    Args:
        tensors: tensors by name, all on the CPU.
        path: file to write.
        facts: further information that JSON can hold.
    """
    dense = _apart({name: tensor.contiguous() for name, tensor in tensors.items()})
    text = json.dumps(facts)
    metadata = {FACTS: text, CHECKSUM: _checksum(text, dense)}
    with atomic_write(path) as temporary:
        save_file(dense, temporary, metadata=metadata)
        _sort_metadata(temporary)


def read_tensors(path: Path, what: str, remedy: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the facts and tensors of a file of :func:`save_tensors`.

    Args:
        path: the file.
        what: name of the kind of file, for the error message.
        remedy: what to do about a damaged file, for the error message.

    Raises:
        SBSError: the file is missing, truncated, changed, or of another kind.
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
    """Whether :func:`save_tensors` wrote the file, judged by its header.

    One of the two metadata texts is enough: with one damaged byte, the file must not pass as a
    public file, whose checksum nobody checks.
    """
    try:
        with safe_open(path, "pt") as file:
            return bool({FACTS, CHECKSUM} & (file.metadata() or {}).keys())
    except (SafetensorError, OSError):
        return False


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without common memory, as of tied weights; safetensors refuses that."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return found


def _checksum(facts: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the facts, and over name, dtype, shape and bytes of each tensor."""
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        content = tensors[name]
        digest.update(f"|{name} {content.dtype} {tuple(content.shape)}|".encode())
        digest.update(content.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _sort_metadata(path: Path) -> None:
    """Sort the metadata; safetensors writes it in a different order each time."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        file.seek(8)
        file.write(text.ljust(length))
