"""Weights on disk: safetensors of our own, public checkpoints of others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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
    """Write a state dict as safetensors with a checksum, whole or not at all.

    Args:
        state: names and tensors.
        path: file to write.
        normalization: that of the images that the network takes, if it is to be known.
    """
    tensors = {name: value.cpu() for name, value in state.items()}
    save_tensors(tensors, path, normalization_facts(normalization))


def normalization_facts(normalization: Normalization | None) -> dict[str, Any]:
    """What a file of tensors says of the images: read it with :func:`read_normalization`."""
    return {} if normalization is None else {NORMALIZATION: normalization.model_dump(mode="json")}


def read_normalization(path: Path) -> Normalization | None:
    """Normalisation of the images that the network in a file takes; None if it does not say.

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
    """Read a state dict: one of :func:`save_weights`, or one of others without code in it.

    Ours are compared with their checksum and the run record beside them. Those of others are
    safetensors or PyTorch files; the settings can give a digest for them, see :func:`obtain`.

    Raises:
        SBSError: the file is missing, damaged, or holds more than tensors.
    """
    path = Path(path)
    check_recorded(path)
    if has_checksum(path):
        return read_tensors(path, "weights file", REMEDY)[1]
    return _read_public(path)


def _read_public(path: Path) -> dict[str, Tensor]:
    """A state dict that others wrote: safetensors, or a PyTorch file without code in it."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise SBSError(f"{path}: no such weights file") from error
    except (SafetensorError, OSError, RuntimeError, EOFError) as error:
        raise SBSError(f"{path}: damaged weights file ({error}); {REMEDY}") from error
    except Exception as error:  # pickle errors have no common base class
        raise SBSError(f"{path}: not a file of plain weights ({error})") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise SBSError(f"{path}: not a state dict; expected names and tensors")
    return {name.removeprefix("module."): value for name, value in state.items()}


def load_into(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict into a model, every name and shape matching.

    Raises:
        SBSError: a tensor is missing, unexpected, of another shape, or not finite.
    """
    own = model.state_dict()
    # Older checkpoints lack the batch counter, which nothing here uses.
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
    model.load_state_dict(dict(state), strict=False)


def obtain(checkpoint: Checkpoint, cache: Path) -> Path:
    """Path of a checkpoint's file, downloaded into ``cache`` if it is nowhere else.

    A file in the folder named by ``SBS_WEIGHTS_DIR`` whose digest is accepted is taken first.

    Raises:
        SBSError: no such file, a failed download, or a digest that is not accepted.
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
            f"{url}: cannot download ({error}); put the file into a folder and name that folder "
            f"in {WEIGHTS_DIR}, or give its path as pretrain.checkpoints.<network>.path"
        ) from error


def _check_digest(path: Path, accepted: tuple[str, ...]) -> None:
    digest = sha256_of_file(path)
    if accepted and not digest.startswith(accepted):
        raise SBSError(
            f"{path}: SHA-256 is {digest}, expected {' or '.join(accepted)}; the file is damaged "
            "or another one: delete it to download it again, or correct pretrain.checkpoints"
        )
