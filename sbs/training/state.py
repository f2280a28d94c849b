"""The state of an unfinished run: a PyTorch file with a checksum at its end.

It is written atomically. Its name contains a digest of everything that decides the result, so a run
resumes only from its own state.
"""

from __future__ import annotations

import hashlib
import io
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sbs.config.scale import canonical_json
from sbs.errors import SBSError
from sbs.provenance.files import atomic_write, directory_lock, sha256_of_text
from sbs.runtime import processes
from sbs.runtime.progress import Reporter

STATE_VERSION = 3
CHECKSUM_BYTES = hashlib.sha256().digest_size


@dataclass
class Progression:
    """Progress of a run, and the time it took."""

    epoch: int = 0
    seconds: float = 0.0
    interruptions: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


def write_state(
    content: dict[str, Any], resume: Path, identity: dict[str, Any], progression: Progression
) -> None:
    """Write the state of a run, atomically; of several processes, the first one does.

    Args:
        content: tensors, numbers, strings, lists, tuples and dicts.
        resume: folder of the state.
        identity: everything that decides the result.
        progression: progress of the run.
    """
    if not processes.is_first():
        return
    state = {
        "version": STATE_VERSION,
        "identity": canonical_json(identity),
        "content": content,
        "progression": vars(progression),
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with atomic_write(state_path(resume, identity)) as temporary, temporary.open("wb") as file:
        file.write(buffer.getbuffer())
        file.write(hashlib.sha256(buffer.getbuffer()).digest())


def read_state(
    resume: Path, identity: dict[str, Any], reporter: Reporter
) -> tuple[dict[str, Any] | None, Progression]:
    """Read the state of this identity, or None if there is none, and the progress of the run.

    Raises:
        SBSError: the file is damaged.
    """
    path = state_path(resume, identity)
    if not path.exists():
        for other in sorted(resume.glob("state-*.pt")):
            reporter.line(f"not resuming from {other}: settings, code, inputs or data changed")
        return None, Progression()
    state = _verified(path)
    if (state["version"], state["identity"]) != (STATE_VERSION, canonical_json(identity)):
        raise SBSError(f"{path}: the state belongs to another run; delete it to start over")
    progression = Progression(**state["progression"])
    progression.interruptions += 1
    reporter.line(f"resuming after epoch {progression.epoch} from {path}")
    return state["content"], progression


def state_path(resume: Path, identity: dict[str, Any]) -> Path:
    """File of the state. Its name contains a digest of the identity, so states never mix."""
    return resume / f"state-{sha256_of_text(canonical_json(identity))[:16]}.pt"


def training_lock(resume: Path) -> AbstractContextManager[None]:
    """Hold a lock on the folder of a state, for all processes of a job.

    Raises:
        SBSError: another job trains there.
    """
    return directory_lock(resume) if processes.is_first() else nullcontext()


def discard(resume: Path) -> None:
    """Remove the states of a finished run."""
    for path in [*resume.rglob("state-*"), *resume.rglob(".lock")]:
        path.unlink()
    for folder in sorted(resume.glob("**/"), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _verified(path: Path) -> dict[str, Any]:
    """Content of a state file, after checking its checksum."""
    content = path.read_bytes()
    body, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    if hashlib.sha256(body).digest() != checksum:
        raise SBSError(f"{path}: the state is damaged; delete it to start over")
    try:
        # weights_only: a state file cannot run code.
        state: dict[str, Any] = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except Exception as error:  # written by another version of PyTorch
        raise SBSError(
            f"{path}: cannot read the state ({error}); delete it to start over"
        ) from error
    return state
