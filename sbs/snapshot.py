"""Copies of a scale's small outputs, for git: tables, figures and run records, no weights."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from sbs.errors import SBSError

TABLES = ("*.csv", "*.md", "*.svg", "runs/*.csv")
RECORDS = ("**/metrics.json", "**/search.json", "**/policy.json")
STAGES = ("pretrain", "search", "finetune")


def save(results: Path, snapshot: Path) -> list[Path]:
    """Copy tables, figures and records of ``results`` to ``snapshot``; what it held goes.

    Returns:
        The copies.

    Raises:
        SBSError: there is nothing to copy.
    """
    sources = [*_tables(results), *_records(results)]
    if not sources:
        raise SBSError(f"{results}: no table and no run record to snapshot; run the scale first")
    shutil.rmtree(snapshot, ignore_errors=True)
    return [_copy(source, results, snapshot) for source in sources]


def restore(results: Path, snapshot: Path) -> list[Path]:
    """Put the run records of a snapshot back, but over nothing that is there.

    Returns:
        The records put back.

    Raises:
        SBSError: there is no such snapshot.
    """
    sources = list(_records(snapshot))
    if not sources:
        raise SBSError(
            f"{snapshot}: no run records here; `git ls-files results/measured` lists all"
        )
    missing = [path for path in sources if not (results / path.relative_to(snapshot)).exists()]
    return [_copy(source, snapshot, results) for source in missing]


def _tables(results: Path) -> Iterator[Path]:
    for pattern in TABLES:
        for path in sorted(results.glob(pattern)):
            if path.name != "README.md":
                yield path


def _records(root: Path) -> Iterator[Path]:
    for stage in STAGES:
        for pattern in RECORDS:
            yield from sorted((root / stage).glob(pattern))


def _copy(source: Path, root: Path, target: Path) -> Path:
    copy = target / source.relative_to(root)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copy)
    return copy


def main() -> None:
    """``python -m sbs.snapshot save|restore RESULTS SNAPSHOT``."""
    action = {"save": save, "restore": restore}[sys.argv[1]]
    try:
        copies = action(Path(sys.argv[2]), Path(sys.argv[3]))
    except SBSError as error:
        sys.exit(f"sbs: {error}")
    print(f"{len(copies)} files copied")


if __name__ == "__main__":
    main()
