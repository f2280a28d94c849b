"""Weight files: our own safetensors files, and public checkpoints."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sbs.config.scale import validated
from sbs.config.settings import Checkpoint, Normalization
from sbs.errors import SBSError
from sbs.provenance.files import atomic_write, sha256_of_file
from sbs.provenance.records import check_recorded
from sbs.runtime.tensor_files import has_checksum, read_tensors, save_tensors

WEIGHTS_DIR = "SBS_WEIGHTS_DIR"
NORMALIZATION = "normalization"
REMEDY = "fetch or train it again"


def save_weights(
    state: Mapping[str, Tensor], path: Path, normalization: Normalization | None = None
) -> None:
    """Write a state dict as safetensors with a checksum, atomically.

    Args:
        state: state dict.
        path: file to write.
        normalization: of the network's input images; None stores none.
    """
    tensors = {name: value.cpu() for name, value in state.items()}
    save_tensors(tensors, path, normalization_facts(normalization))


def normalization_facts(normalization: Normalization | None) -> dict[str, Any]:
    """The normalisation as facts of a tensor file, for :func:`read_normalization`."""
    return {} if normalization is None else {NORMALIZATION: normalization.model_dump(mode="json")}


def read_normalization(path: Path) -> Normalization | None:
    """Normalisation of the input images, as stored in a file; None if the file has none.

    Args:
        path: weights or an exported network.

    Raises:
        SBSError: the file is damaged.
    """
    if not has_checksum(path):
        return None
    facts, _ = read_tensors(path, "weights file", REMEDY)
    content = facts.get(NORMALIZATION)
    return None if content is None else validated(Normalization, content, str(path))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict: a file of :func:`save_weights`, or a public checkpoint without code.

    Our own files are checked against their checksum and the run record beside them. Public files
    are safetensors, npz or PyTorch files; the settings can give their digest, see :func:`obtain`.

    Raises:
        SBSError: the file is missing, damaged, or contains more than tensors.
    """
    path = Path(path)
    check_recorded(path)
    if has_checksum(path):
        return read_tensors(path, "weights file", REMEDY)[1]
    return _read_public(path)


def _read_public(path: Path) -> dict[str, Tensor]:
    """A public state dict: safetensors, NumPy's npz, or a PyTorch file without code."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path) as arrays:  # refuses pickled objects
                return {name: torch.from_numpy(arrays[name]) for name in arrays}
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise SBSError(f"{path}: no such weights file") from error
    except (SafetensorError, OSError, RuntimeError, EOFError, BadZipFile) as error:
        raise SBSError(f"{path}: damaged weights file ({error}); {REMEDY}") from error
    except Exception as error:  # pickle errors have no common base class
        raise SBSError(f"{path}: does not contain only weights ({error})") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise SBSError(f"{path}: not a state dict; expected tensors by name")
    return {name.removeprefix("module."): value for name, value in state.items()}


def load_into(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict into a model; every name and shape must match.

    Raises:
        SBSError: a tensor is missing, unexpected, of another shape, or not finite.
    """
    own = model.state_dict()
    # Older checkpoints lack the batch counter; nothing here uses it.
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - state.keys() - optional)
    unexpected = sorted(state.keys() - own.keys())
    shape = [n for n in own.keys() & state.keys() if own[n].shape != state[n].shape]
    broken = [n for n, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    for names, what in (
        (missing, "no tensor"),
        (unexpected, "an unexpected tensor"),
        (sorted(shape), "a tensor of another shape for"),
        (sorted(broken), "values that are not finite in"),
    ):
        if names:
            raise SBSError(f"{source}: {what} {names[0]!r}: not weights of this network")
    # Some networks ask for the version of their layout; names and shapes are those of this one.
    found = OrderedDict(state)
    found._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]
    model.load_state_dict(found, strict=False)


def obtain(checkpoint: Checkpoint, cache: Path) -> Path:
    """Path of a checkpoint's file; download it into ``cache`` if there is no local copy.

    Files in the folder ``SBS_WEIGHTS_DIR`` come first, if their digest is accepted.

    Raises:
        SBSError: the file does not exist, the download failed, or the digest is not accepted.
    """
    if checkpoint.path is not None:
        path = Path(checkpoint.path)
        if not path.is_file():
            raise SBSError(f"pretrain.checkpoints: {path}: no such file")
        _check_digest(path, checkpoint.sha256)
        return path
    local = _local_copy(checkpoint.sha256)
    if local is not None:
        return local
    assert checkpoint.url is not None
    path = cache / checkpoint.url.rsplit("/", 1)[-1]
    if not path.is_file():
        _download(checkpoint.url, path)
    _check_digest(path, checkpoint.sha256)
    return path


def _local_copy(digests: Iterable[str]) -> Path | None:
    folder = os.environ.get(WEIGHTS_DIR)
    if not folder:
        return None
    files = (path for path in sorted(Path(folder).iterdir()) if path.is_file())
    accepted = tuple(digests)
    return next((path for path in files if sha256_of_file(path).startswith(accepted)), None)


def _download(url: str, path: Path) -> None:
    try:
        with atomic_write(path) as temporary:
            torch.hub.download_url_to_file(url, str(temporary), progress=False)
    except OSError as error:
        raise SBSError(
            f"{url}: cannot download ({error}); put the file into a folder and set {WEIGHTS_DIR} "
            "to that folder, or set pretrain.checkpoints.<network>.path to the file"
        ) from error


def _check_digest(path: Path, accepted: tuple[str, ...]) -> None:
    digest = sha256_of_file(path)
    if accepted and not digest.startswith(accepted):
        raise SBSError(
            f"{path}: SHA-256 is {digest}, expected {' or '.join(accepted)}; the file is damaged "
            "or a different one: delete it to download it again, or correct pretrain.checkpoints"
        )
