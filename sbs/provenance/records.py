"""Run records: what was run, on what, by which code, and what came out."""

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
    """JSON with a line a key, and a line an entry where a key holds a list of objects.

    Short to scroll through, and a change of one moment of a history is a change of one line.
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
    """``metrics.json``: what was run, and what came of it. Search writes one without accuracy.

    ``outputs`` has the SHA-256 of each file that the stage wrote, by its path from the record's
    folder. ``normalization`` has mean and std of each channel of the images.
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
    bops: float
    full_precision_bops: float
    memory_bytes: float
    full_precision_memory_bytes: float
    top1: float | None = None
    top5: float | None = None
    target: float | None = None
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
    """Compare a file with what a run record in its folder says of it; without one, accept it.

    Raises:
        SBSError: its digest is not the recorded one.
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
            f"{path}: not the file that {record.name} recorded (damaged, or edited?); run that "
            "stage again, or use an edited file from a folder without this record"
        )


def _outputs_by_record(folder: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The run records in a folder, and the files that they list; other JSON files are skipped."""
    for record in sorted(folder.glob("*.json")):
        try:
            content = json.loads(record.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and isinstance(content.get("outputs"), dict):
            yield record, content["outputs"]


def git_revision() -> str:
    """Commit of the working tree, with ``-dirty`` if it has changes; ``unknown`` outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--match=-"]
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def software_versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers may depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in VERSIONED}
