"""Copy the small outputs of a scale for git: tables, figures and run records, but no weights."""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from sbs.errors import SBSError

TABLES = ("*.csv", "*.md", "*.svg", "runs/*.csv")
RECORDS = ("**/metrics.json", "**/search.json", "**/policy.json")
STAGES = ("pretrain", "search", "finetune")


def save(results: Path, snapshot: Path) -> list[Path]:
    """Replace ``snapshot`` by copies of the tables, figures and records in ``results``.

    Returns:
        Paths of the copies.

    Raises:
        SBSError: there is nothing to copy.
    """
    sources = [*_tables(results), *_records(results)]
    if not sources:
        raise SBSError(f"{results}: no table and no run record to snapshot; run the scale first")
    if snapshot.exists():
        shutil.rmtree(snapshot)
    return [_copy(source, results, snapshot) for source in sources]


def restore(results: Path, snapshot: Path) -> list[Path]:
    """Copy the run records of a snapshot back; records that differ are not overwritten.

    Identical records are written again, so that they are newer than the pretrained weights.
    Otherwise Snakemake would repeat their runs.

    Returns:
        Paths of the restored records.

    Raises:
        SBSError: the snapshot does not exist or has no records.
    """
    sources = list(_records(snapshot))
    if not sources:
        raise SBSError(f"{snapshot}: no run record to restore; is this the name of a scale?")
    return [
        _copy(source, snapshot, results)
        for source in sources
        if _absent_or_same(results / source.relative_to(snapshot), source)
    ]


def _tables(results: Path) -> Iterator[Path]:
    for pattern in TABLES:
        for path in sorted(results.glob(pattern)):
            # Benchmarks do not belong to a scale.
            if path.name != "README.md" and path.stem != "benchmarks":
                yield path


def _records(root: Path) -> Iterator[Path]:
    for stage in STAGES:
        for pattern in RECORDS:
            yield from sorted((root / stage).glob(pattern))


def _absent_or_same(path: Path, source: Path) -> bool:
    return not path.exists() or filecmp.cmp(path, source, shallow=False)


def _copy(source: Path, root: Path, target: Path) -> Path:
    copy = target / source.relative_to(root)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copy)
    return copy


def main() -> None:
    """Run ``python -m sbs.results.snapshot save|restore RESULTS SNAPSHOT``."""
    actions = {"save": save, "restore": restore}
    parser = argparse.ArgumentParser(prog="python -m sbs.results.snapshot", description=__doc__)
    parser.add_argument("action", choices=actions)
    parser.add_argument("results", type=Path)
    parser.add_argument("snapshot", type=Path)
    given = parser.parse_args()
    try:
        copies = actions[given.action](given.results, given.snapshot)
    except SBSError as error:
        sys.exit(f"sbs: {error}")
    print(f"{given.action}d {len(copies)} files")


if __name__ == "__main__":
    main()
