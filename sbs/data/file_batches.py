"""Batches of images that are decoded and cropped when they are needed.

Training images are resized to a square that is a little larger than the network's input, and
cropped at random (section 4.2). Or they are cropped at random to a part of their area and resized,
as is the custom for ImageNet. Of test images the short side is resized, and the middle is cropped.
Crops and flips of an image depend only on (seed, epoch, image). So they do not depend on the number
of workers, nor on interruptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Views
from torchvision.transforms import RandomCrop, RandomResizedCrop
from torchvision.transforms import functional as F

from sbs.data.augmentation import Augmentation
from sbs.data.image_files import FileSet
from sbs.data.interface import TrainingBatches, batch_places
from sbs.data.normalization import PixelNormalization
from sbs.errors import SBSError
from sbs.runtime.seeding import derive_seed

RATIOS = (3 / 4, 4 / 3)
"""Width over height of a random crop, before it is resized."""

SHORT_SIDE = 256 / 224
"""Side of a resized image over the side of its crop: the short side of a test image."""

View = tuple[Tensor, int] | SBSError
"""An image (H, W, C) in uint8 with its label; or what was wrong with it."""


@dataclass(frozen=True)
class TrainViews(Views[View]):
    """Augmented images of one epoch, in its order."""

    files: FileSet
    order: Tensor
    augmentation: Augmentation
    seed: int
    epoch: int

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> View:
        index = int(self.order[place])
        try:
            image = self.files.read(index)
        except SBSError as error:
            return error
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would also note a call for each kind of accelerator, which is slow.
            torch.default_generator.manual_seed(derive_seed(self.seed, "view", self.epoch, index))
            view = _train_view(image, self.files.side, self.augmentation)
        return _pixels(view), int(self.files.labels[index])


@dataclass(frozen=True)
class EvalViews(Views[View]):
    """Test images in order."""

    files: FileSet

    def __len__(self) -> int:
        return len(self.files.labels)

    def __getitem__(self, index: int) -> View:
        try:
            image = self.files.read(index)
        except SBSError as error:
            return error
        return _pixels(_test_view(image, self.files.side)), int(self.files.labels[index])


class FileTrainBatches(TrainingBatches):
    """Augmented training batches, see :class:`sbs.data.batches.TrainBatches`."""

    def __init__(
        self,
        files: FileSet,
        normalize: PixelNormalization,
        *,
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
        device: torch.device,
        workers: int,
    ) -> None:
        """Store the arguments.

        Args:
            files: the training images.
            normalize: from pixels to the network's input.
            batch_size: images per batch; the last batch of an epoch can be smaller.
            augmentation: random crop and flip.
            seed: seed of the run.
            device: device of the batches.
            workers: processes that decode; 0: this one does.
        """
        super().__init__(len(files.labels), batch_size)
        self._files, self._normalize = files, normalize
        self._augmentation, self._seed = augmentation, seed
        self._device, self._workers = device, workers

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every image once: float32 normalised (B, C, H, W), and labels (B,) int64."""
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "order", epoch))
        order = torch.randperm(self.images, generator=generator)
        views = TrainViews(self._files, self._numbers(order), self._augmentation, self._seed, epoch)
        places = self._places()
        yield from _batches(views, places, self._normalize, self._device, self._workers)


class FileEvalBatches:
    """Test images in order, normalised."""

    def __init__(
        self,
        files: FileSet,
        normalize: PixelNormalization,
        *,
        device: torch.device,
        workers: int,
        batch_size: int = 100,
    ) -> None:
        """Store the arguments; those of :class:`FileTrainBatches`."""
        self._files, self._normalize = files, normalize
        self._device, self._workers, self.batch_size = device, workers, batch_size

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self._files.labels) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images (B, C, H, W) as normalised float32, and labels (B,) as int64."""
        views = EvalViews(self._files)
        places = batch_places(len(views), self.batch_size)
        yield from _batches(views, places, self._normalize, self._device, self._workers)


def _train_view(image: Image.Image, side: int, augmentation: Augmentation) -> Image.Image:
    """A random crop of an image, perhaps mirrored."""
    if augmentation.smallest_crop is None:
        large = round(SHORT_SIDE * side)
        image = image.resize((large, large), Image.Resampling.BILINEAR)
        top, left, height, width = RandomCrop.get_params(image, (side, side))
    else:
        scale = [augmentation.smallest_crop, 1.0]
        top, left, height, width = RandomResizedCrop.get_params(image, scale, list(RATIOS))
    view = image.crop((left, top, left + width, top + height))
    if view.size != (side, side):
        view = view.resize((side, side), Image.Resampling.BILINEAR)
    mirrored = augmentation.flip and float(torch.rand(())) < 0.5
    return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else view


def _test_view(image: Image.Image, side: int) -> Image.Image:
    """The middle of an image, after its short side is resized."""
    resized = F.resize(image, [round(SHORT_SIDE * side)])
    cropped: Image.Image = F.center_crop(resized, [side, side])
    return cropped


def _pixels(view: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(view))


def _batches(
    views: TrainViews | EvalViews,
    places: Iterable[slice],
    normalize: PixelNormalization,
    device: torch.device,
    workers: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    loader = DataLoader(
        views,
        batch_sampler=[list(range(*batch.indices(len(views)))) for batch in places],
        num_workers=workers,
        collate_fn=_collated,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # else it draws from the global one
    )
    for batch in loader:
        if isinstance(batch, SBSError):
            raise batch
        pixels, labels = (part.to(device, non_blocking=True) for part in batch)
        yield normalize(pixels), labels


def _collated(views: Sequence[View]) -> tuple[Tensor, Tensor] | SBSError:
    """Pixels (B, H, W, C) and labels; or an error, which workers would bury in a traceback."""
    images, labels = [], []
    for view in views:
        if isinstance(view, SBSError):
            return view
        images.append(view[0])
        labels.append(view[1])
    return torch.stack(images), torch.tensor(labels)
