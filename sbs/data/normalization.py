"""From pixels to the input of a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sbs.data.images import Dataset


class PixelNormalization:
    """Converts uint8 pixels (B, H, W, C) to normalised float32 images (B, C, H, W)."""

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        width: int,
        device: torch.device,
        *,
        channels_last: bool,
    ) -> None:
        """Prepare the constants.

        Args:
            mean: of each channel, for pixels in [0, 1].
            std: standard deviations, likewise.
            width: W.
            device: device of the images.
            channels_last: memory format of the images.
        """
        means, stds = (torch.tensor(one, dtype=torch.float64) for one in (mean, std))
        # Repeated over a row: broadcasting over only 3 channels is several times slower.
        self._scale = (1 / (255 * stds)).float().repeat(width).to(device)
        self._shift = (-means / stds).float().repeat(width).to(device)
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalise a batch."""
        images = pixels.flatten(2).float().mul_(self._scale).add_(self._shift)
        return images.view(pixels.shape).permute(0, 3, 1, 2).contiguous(memory_format=self._format)


def normalization_of(
    dataset: Dataset, device: torch.device, *, channels_last: bool
) -> PixelNormalization:
    """The normalisation of a dataset's images."""
    width = dataset.image[2]
    return PixelNormalization(dataset.mean, dataset.std, width, device, channels_last=channels_last)
