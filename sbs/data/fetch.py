"""Fetch a dataset and write the one file that training reads."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from sbs.data.dataset_files import save_dataset
from sbs.data.images import Dataset
from sbs.registry.datasets import dataset as registered_dataset

DATA_DIR = "SBS_DATA_DIR"


def fetch(name: str, output: Path, directory: Path | None = None) -> Dataset:
    """Get a dataset, check it, and write it to ``output``.

    Args:
        name: a registered dataset.
        output: the file to write.
        directory: folder with a local copy; default: the folder in ``SBS_DATA_DIR``; without
            that, download.

    Raises:
        SBSError: the name is not registered, or there is no complete and unchanged copy.
    """
    if directory is None and os.environ.get(DATA_DIR):
        directory = Path(os.environ[DATA_DIR])
    source = import_module(registered_dataset(name).module)
    dataset: Dataset = source.load(name, directory, output.parent / "downloads")
    save_dataset(dataset, output)
    return dataset
