"""Comparison of the two files of a network: ONNX, and packed integers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from sbs.cost.named_network import made_by
from sbs.data.dataset_files import load_dataset
from sbs.data.feeding import eval_batches
from sbs.errors import SBSError
from sbs.export.packed import read
from sbs.export.verify import Comparison, compare, input_shapes
from sbs.runtime import checkpoints

NOISE = 64
"""Number of random inputs where no images are given; arithmetic does not ask what they show."""


def run(
    network: Path, packed: Path, data: Path | None = None, model: str | None = None
) -> Comparison:
    """Compare the files of a network, see :func:`sbs.export.verify.compare`.

    Args:
        network: the network in ONNX.
        packed: the packed file.
        data: dataset whose test images go through the network; None: normal random numbers.
        model: ``package.module:function`` that returns the network before compression; None: it
            is one of the project.

    Raises:
        SBSError: a file is missing or damaged, or they do not belong together.
    """
    content = read(packed, None if model is None else made_by(model))
    shapes = input_shapes(network)
    if data is None:
        generator = torch.Generator().manual_seed(0)
        noise = tuple(torch.randn(NOISE, *shape, generator=generator) for shape in shapes)
        return compare(network, content, [noise])
    dataset = load_dataset(data)
    if shapes != (dataset.image,):
        raise SBSError(
            f"{network}: reads images of {shapes[0]}, but those of {data} are {dataset.image}; "
            "export it with their --image-size"
        )
    normalization = checkpoints.read_normalization(packed)
    if normalization is not None:
        dataset = dataset.normalized_by(normalization, str(packed))
    batches = eval_batches(dataset, device=torch.device("cpu"))
    return compare(network, content, _images(batches))


def _images(batches: Iterable[tuple[Tensor, Tensor]]) -> Iterable[Tensor]:
    return (images for images, _ in batches)
