"""How training images are augmented."""

from __future__ import annotations

from dataclasses import dataclass

from sbs.config.settings import DataSettings


@dataclass(frozen=True)
class Augmentation:
    """Random crops and flips.

    Attributes:
        crop_padding: pixels of black around an image in memory before it is cropped to its size.
        flip: whether half of the images are mirrored.
        smallest_crop: smallest share of the area of an image file that a random crop takes before
            it is resized. None: the image is resized first, and the crop has the network's size.
    """

    crop_padding: int
    flip: bool
    smallest_crop: float | None = None

    @classmethod
    def of(cls, settings: DataSettings) -> Augmentation:
        """The augmentation that the settings ask for."""
        return cls(settings.crop_padding, settings.flip, settings.smallest_crop)
