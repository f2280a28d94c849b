"""One JSON file for each tool and target: what was asked, and what came out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks.peers.tool import Tool
from sbs.errors import SBSError
from sbs.provenance.files import atomic_write_text
from sbs.runtime.device import device_name


@dataclass(frozen=True)
class Record:
    """A row of the page.

    Attributes:
        tool: name of the tool.
        level: bits of the uniform network whose bit operations were asked for.
        asked: these bit operations.
        epochs: budget of each of the two stages.
        versions: of its packages and of PyTorch.
        device: processor.
        outcome: ``network``; ``cannot``, if it does not do this; ``failed``, if it broke.
        reason: why there is no network.
        bits: layer -> bits of its weights and of its inputs.
        filters: layer -> filters that are left, where some were pruned.
        bops: bit operations by this project's count.
        own_bops: by the tool's count.
        memory: bytes by this project's count: weights and inputs of layers.
        weights: bytes of the weights alone.
        search_hours: of one core, until the bits are known.
        training_hours: of one core, after it.
        steps: training steps.
        top1: accuracy on the test images, in percent.
        exports: format -> bytes.
        unexported: format -> why it could not be written.
        notes: further facts.
    """

    tool: str
    level: int
    asked: float
    epochs: int
    versions: dict[str, str]
    device: str
    outcome: str
    reason: str | None = None
    bits: dict[str, tuple[int, int]] = field(default_factory=dict)
    filters: dict[str, int] = field(default_factory=dict)
    bops: float | None = None
    own_bops: float | None = None
    memory: float | None = None
    weights: float | None = None
    search_hours: float | None = None
    training_hours: float | None = None
    steps: int | None = None
    top1: float | None = None
    exports: dict[str, int] = field(default_factory=dict)
    unexported: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def save(self, folder: Path) -> None:
        """Write it, atomically."""
        path = record_path(folder, self.tool, self.level)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, json.dumps(asdict(self), indent=1) + "\n")


def record_path(folder: Path, tool: str, level: int) -> Path:
    """File of a record."""
    return folder / f"{tool}-{level}bit.json"


def load(path: Path) -> Record:
    """Read a record.

    Raises:
        SBSError: it is none.
    """
    try:
        return Record(**json.loads(path.read_text()))
    except (OSError, TypeError, ValueError) as error:
        raise SBSError(f"{path}: not a record ({error}); delete it and run `make peers`") from error


def load_all(folder: Path, tools: dict[str, Tool]) -> Iterator[Record]:
    """Records by target, and in the order of the tools."""
    found = [load(path) for path in folder.glob("*bit.json")]
    order = list(tools)
    yield from sorted(found, key=lambda one: (-one.level, order.index(one.tool)))


def surroundings(tool: Tool) -> dict[str, object]:
    """Versions and device."""
    versions = {"torch": torch.__version__}
    for package in tool.packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {"versions": versions, "device": device_name(torch.device("cpu"))}
