"""Run records: what was run, with which inputs and which code, and the results."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sbs.errors import SBSError
from sbs.provenance.files import atomic_write_text, sha256_of_file

VERSIONED = ("torch", "torchvision", "numpy", "scikit-learn", "snakemake")


def json_by_line(content: dict[str, Any]) -> str:
    """JSON with one line per key; a list of objects gets one line per object.

    The file stays short, and one changed entry of a history changes one line of a diff.
    """
    lines = []
    for key, value in content.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
            entries = ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in value)
            text = f"[\n  {entries}\n ]"
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


class RunRecord(BaseModel):
    """``metrics.json``: what was run, and the results. A search writes one without accuracy.

    ``outputs``: SHA-256 of each file that the stage wrote; keys are paths relative to the folder of
    the record. ``normalization``: mean and standard deviation of each channel of the images.
    ``found``, ``found_cost``, ``landing_flips``: the policy of a search before its landing step,
    its cost in the unit of ``target``, and the number of decisions that landing changed.
    ``threads``: of each of the ``processes``, which each have a GPU if there are several.
    ``open_shares``: share of its last steps in which each gate was open, by kind and layer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    stage: Literal["pretrain", "search", "finetune"]
    scale: str
    network: str
    method: str
    variant: str
    seed: int
    settings: dict[str, Any]
    settings_sha256: str
    inputs: dict[str, str]
    outputs: dict[str, str] = {}
    dataset: str
    dataset_sha256: str
    normalization: dict[str, tuple[float, ...]] | None = None
    git_revision: str
    versions: dict[str, str]
    device: str
    threads: int
    processes: int = 1
    bops: float
    full_precision_bops: float
    memory_bytes: float
    full_precision_memory_bytes: float
    top1: float | None = None
    top5: float | None = None
    target: float | None = None
    found: dict[str, Any] | None = None
    found_cost: float | None = None
    landing_flips: int | None = None
    open_shares: dict[str, dict[str, list[float]]] | None = None
    wall_seconds: float
    device_hours: float
    peak_memory_bytes: int
    interruptions: int
    history: list[dict[str, Any]]
    trajectory: list[dict[str, Any]] = []

    def save(self, path: Path) -> None:
        """Write the record as JSON, atomically."""
        atomic_write_text(path, json_by_line(self.model_dump(mode="json")))

    @classmethod
    def load(cls, path: Path) -> RunRecord:
        """Read a record.

        Raises:
            SBSError: the file is missing or is not a run record.
        """
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except OSError as error:
            raise SBSError(f"{path}: cannot read the run record: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            raise SBSError(
                f"{path}: not a run record ({first['loc']}: {first['msg']}); delete it and rerun"
            ) from error


def check_recorded(path: Path) -> None:
    """Compare a file with its digest in the run record beside it. Without a record, accept it.

    Raises:
        SBSError: the digest differs from the recorded one.
    """
    path = Path(path)
    recorded = {
        outputs[path.name]: record
        for record, outputs in _outputs_by_record(path.parent)
        if path.name in outputs
    }
    if recorded and path.is_file() and sha256_of_file(path) not in recorded:
        record = next(iter(recorded.values()))
        raise SBSError(
            f"{path}: differs from the file that {record.name} recorded (damaged, or edited?); run "
            "that stage again, or use an edited file from a folder without this record"
        )


def _outputs_by_record(folder: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The run records in a folder and their ``outputs``; other JSON files are skipped."""
    for record in sorted(folder.glob("*.json")):
        try:
            content = json.loads(record.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and isinstance(content.get("outputs"), dict):
            yield record, content["outputs"]


def git_revision() -> str:
    """Commit of the working tree, with ``-dirty`` if it has changes; ``unknown`` without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--match=-"]
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def software_versions() -> dict[str, str]:
    """Versions of Python and of the packages that the numbers can depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in VERSIONED}
