"""Images as files of any size, listed once and decoded when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class FileSet:
    """Image files and their labels.

    Attributes:
        root: folder of the files.
        names: paths below it.
        numbers: indices of this set's files in ``names`` (N,).
        labels: labels (N,) in int64.
        side: height and width that images are cropped to.
    """

    root: Path
    names: Names
    numbers: Tensor
    labels: Tensor
    side: int

    @property
    def image(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of a cropped image."""
        return 3, self.side, self.side

    def part(self, chosen: Tensor) -> FileSet:
        """The images with these indices (M,), in ascending order."""
        ascending = chosen.sort().values
        numbers, labels = self.numbers[ascending], self.labels[ascending]
        return FileSet(self.root, self.names, numbers, labels, self.side)

    def path(self, index: int) -> Path:
        """File of an image."""
        return self.root / self.names[int(self.numbers[index])]

    def read(self, index: int) -> Image.Image:
        """Decode an image; grey and CMYK ones become RGB.

        Raises:
            SBSError: the file is missing or damaged.
        """
        path = self.path(index)
        try:
            with Image.open(path) as image:
                return image.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:  # Pillow's, by format
            raise SBSError(
                f"{path}: cannot read the image ({error}); copy the file again from its source"
            ) from error
