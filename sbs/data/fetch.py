"""From a source of images to the one file that training reads."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from sbs.data.images import Dataset, save_dataset
from sbs.registry.datasets import dataset as registered_dataset

DATA_DIR = "SBS_DATA_DIR"


def fetch(name: str, output: Path, directory: Path | None = None) -> Dataset:
    """Get a dataset, check it, and write it to ``output``.

    Args:
        name: a registered dataset.
        output: the file to write.
        directory: folder with a local copy; by default the one named by ``SBS_DATA_DIR``, and
            without that a download.

    Raises:
        SBSError: an unknown name, or no whole and unaltered copy to be had.
    """
    if directory is None and os.environ.get(DATA_DIR):
        directory = Path(os.environ[DATA_DIR])
    source = import_module(registered_dataset(name).module)
    dataset: Dataset = source.load(name, directory, output.parent / "downloads")
    save_dataset(dataset, output)
    return dataset
