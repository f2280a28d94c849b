"""Images as files of any size, or in tar files; listed once, decoded when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import torch
from PIL import Image
from torch import Tensor

from sbs.errors import SBSError


@dataclass(frozen=True)
class Names:
    """A list of names in two tensors: a million of them as objects would be copied by every worker.

    Attributes:
        text: UTF-8 of all names, one after the other.
        ends: for every name the place behind its last byte.
    """

    text: Tensor
    ends: Tensor

    @classmethod
    def of(cls, names: Sequence[str]) -> Names:
        """Pack names."""
        encoded = [name.encode() for name in names]
        text = torch.frombuffer(bytearray(b"".join(encoded)), dtype=torch.uint8)
        return cls(text, torch.tensor([len(name) for name in encoded]).cumsum(0))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> str:
        start = int(self.ends[number - 1]) if number else 0
        return bytes(self.text[start : int(self.ends[number])].numpy()).decode()


IN = "::"
"""Stands between the path of a tar file and the name of an image in it."""


@dataclass(frozen=True)
class FileSet:
    """Image files and their labels.

    Attributes:
        root: folder of the files.
        names: paths below it; of an image in a tar file ``shard.tar::image.jpg``.
        numbers: indices of this set's files in ``names`` (N,).
        labels: labels (N,) in int64.
        side: height and width that images are cropped to.
        spans: first byte and number of bytes (names, 2) in the tar file; None: images are files.
    """

    root: Path
    names: Names
    numbers: Tensor
    labels: Tensor
    side: int
    spans: Tensor | None = None

    @property
    def image(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of a cropped image."""
        return 3, self.side, self.side

    def part(self, chosen: Tensor) -> FileSet:
        """The images with these indices (M,), in ascending order."""
        ascending = chosen.sort().values
        return replace(self, numbers=self.numbers[ascending], labels=self.labels[ascending])

    def path(self, index: int) -> Path:
        """File of an image; for one in a tar file, its name in :attr:`names` below the root."""
        return self.root / self.names[int(self.numbers[index])]

    def size(self, index: int) -> int:
        """Bytes of an image, before it is decoded."""
        if self.spans is None:
            return self.path(index).stat().st_size
        return int(self.spans[self.numbers[index], 1])

    def read(self, index: int) -> Image.Image:
        """Decode an image; grey and CMYK ones become RGB.

        Raises:
            SBSError: the file is missing or damaged.
        """
        path = self.path(index)
        try:
            with self._opened(index) as file, Image.open(file) as image:
                return image.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:  # Pillow's, by format
            raise SBSError(
                f"{path}: cannot read the image ({error}); copy the file again from its source"
            ) from error

    def _opened(self, index: int) -> BinaryIO:
        path = self.path(index)
        if self.spans is None:
            return path.open("rb")
        start, size = self.spans[self.numbers[index]].tolist()
        with Path(str(path).partition(IN)[0]).open("rb") as shard:
            shard.seek(start)
            return BytesIO(shard.read(size))
