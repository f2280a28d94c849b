"""Images of parquet files, written as tar files that single images can be read from.

A parquet file compresses many images as one. The Hugging Face hub has ImageNet in this form: a
column ``image`` with the bytes and the name of the file, and a column ``label``.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq
from pyarrow.lib import ArrowException

from sbs.errors import SBSError
from sbs.provenance.files import atomic_write

COLUMNS = ["image", "label"]

ENDINGS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png"}
"""First bytes of a file, and the ending of its kind."""

ROWS = 256
"""Images in memory at a time, about 30 MB."""


def unpack(source: Path, folder: Path) -> Path:
    """Write the images of a parquet file to a tar file of the same name, as WebDataset does.

    A finished tar file is not written again, so an interrupted run goes on where it was.

    Args:
        source: the parquet file.
        folder: where the tar file goes.

    Returns:
        The tar file.

    Raises:
        SBSError: the parquet file is damaged, or has no images and labels.
    """
    target = folder / f"{source.stem}.tar"
    if not target.exists():
        with atomic_write(target) as temporary, tarfile.open(temporary, "w") as archive:
            for number, row in enumerate(_rows(source)):
                _add(archive, source, number, row)
    return target


def _rows(source: Path) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(source) as file:
            _check_columns(source, file.schema_arrow.names)
            for batch in file.iter_batches(ROWS, columns=COLUMNS):
                yield from batch.to_pylist()
    except (ArrowException, OSError) as error:
        raise SBSError(
            f"{source}: truncated or altered parquet file ({error}); fetch it again"
        ) from error


def _check_columns(source: Path, names: list[str]) -> None:
    if missing := [name for name in COLUMNS if name not in names]:
        raise SBSError(
            f"{source}: no column {' and no column '.join(missing)}; images are expected as in "
            "the Hugging Face hub's imagenet-1k"
        )


def _add(archive: tarfile.TarFile, source: Path, number: int, row: dict[str, Any]) -> None:
    image, label = row["image"], row["label"]
    content = image.get("bytes") if isinstance(image, dict) else None
    if not content:
        raise SBSError(f"{source}: row {number} has no image; fetch the file again")
    if not isinstance(label, int) or label < 0:
        raise SBSError(
            f"{source}: the image in row {number} has no class ({label}); the hub's test files "
            "have none, take train and validation"
        )
    name = PurePosixPath(image.get("path") or f"{source.stem}-{number:08d}").name
    key = name.partition(".")[0]
    _write(archive, key + _ending(source, number, content), content)
    _write(archive, f"{key}.cls", str(label).encode())


def _ending(source: Path, number: int, content: bytes) -> str:
    for start, ending in ENDINGS.items():
        if content.startswith(start):
            return ending
    raise SBSError(f"{source}: the image in row {number} is neither JPEG nor PNG")


def _write(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
