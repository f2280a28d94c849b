"""Images in tar files, as WebDataset arranges them.

Files of a sample have one key, the name up to its first dot: ``n01440764_10026.jpg`` is an image,
and ``n01440764_10026.cls`` its class. The tar files are not compressed, so an image is a span of
bytes that is read where it lies. Each tar file is walked through once, when the dataset is listed.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sbs.errors import SBSError


@dataclass(frozen=True)
class ShardImage:
    """An image in a tar file.

    Attributes:
        shard: the tar file.
        member: its name there.
        label: number of its class.
        start: place of its first byte in the tar file.
        size: its bytes.
    """

    shard: Path
    member: str
    label: int
    start: int
    size: int


def shards_of(folder: Path) -> list[Path]:
    """The tar files of a folder, by name.

    Raises:
        SBSError: one of them is compressed by its name.
    """
    compressed = sorted(folder.glob("*.tar.*")) + sorted(folder.glob("*.tgz"))
    if compressed:
        raise SBSError(
            f"{compressed[0]}: images in a compressed tar file cannot be read one by one; "
            "unpack it to a .tar file (JPEG is compressed already)"
        )
    return sorted(folder.glob("*.tar"))


def images_of(
    shard: Path, classes: Mapping[str, int], suffixes: tuple[str, ...]
) -> list[ShardImage]:
    """The images of a tar file with their classes.

    The class of an image is in a file ``.cls`` with the same key, as a number. Or a folder, or the
    name of the image, starts with a synset. If both are there, they must agree.

    Args:
        shard: the tar file.
        classes: the number of each synset.
        suffixes: endings of images, in lower case.

    Raises:
        SBSError: this is no tar file, it is cut short, or a class is missing or contradicted.
    """
    images: dict[str, tarfile.TarInfo] = {}
    numbers: dict[str, int] = {}
    for member, number in _members(shard, suffixes):
        key, _ = _parts(member.name)
        if number is not None:
            numbers[key] = number
        elif key in images:
            raise SBSError(
                f"{shard}: {images[key].name} and {member.name} are images of one sample"
            )
        else:
            images[key] = member
    return [
        ShardImage(
            shard,
            image.name,
            _label(shard, image.name, numbers.get(key), classes),
            image.offset_data,
            image.size,
        )
        for key, image in images.items()
    ]


def _members(
    shard: Path, suffixes: tuple[str, ...]
) -> Iterator[tuple[tarfile.TarInfo, int | None]]:
    """Images, and files of a class with the number in them."""
    end = shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                ending = _parts(member.name)[1]
                if member.offset_data + member.size > end:
                    raise SBSError(f"{shard}: cut short in {member.name}; copy it again")
                if ending == ".cls":
                    yield member, _number(shard, archive, member)
                elif member.isfile() and ending in suffixes:
                    yield member, None
    except (tarfile.TarError, OSError) as error:
        raise SBSError(f"{shard}: cannot read the tar file ({error}); copy it again") from error


def _number(shard: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    file = archive.extractfile(member)
    text = file.read().decode("utf-8", "replace").strip() if file else ""
    if not text.isdecimal():
        raise SBSError(
            f"{shard}: {member.name} contains {text!r}; it must be the number of a class"
        )
    return int(text)


def _parts(name: str) -> tuple[str, str]:
    """Key and ending of a member: what is before the first dot of its file name, and the rest."""
    path = PurePosixPath(name)
    stem, dot, ending = path.name.partition(".")
    return str(path.with_name(stem)) if stem else name, (dot + ending).lower()


def _label(shard: Path, member: str, number: int | None, classes: Mapping[str, int]) -> int:
    named = {
        classes[name]
        for part in PurePosixPath(member).parts
        for name in [re.split(r"[_.]", part, maxsplit=1)[0]]
        if name in classes
    }
    found = named if number is None else named | {number}
    if len(found) > 1:
        raise SBSError(
            f"{shard}: {member} is of class {number} by its .cls file, but its name says "
            "otherwise; classes are numbered in the order of their synsets, from 0"
        )
    if not found:
        raise SBSError(
            f"{shard}: {member} has no class: neither a .cls file nor a synset in its name"
        )
    if not 0 <= (label := found.pop()) < len(classes):
        raise SBSError(f"{shard}: {member} is of class {label}; there are {len(classes)}, from 0")
    return label
