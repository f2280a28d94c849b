"""From a source of images to the one file that training reads."""

from __future__ import annotations

import os
from pathlib import Path

from sbs.data.images import Dataset, save_dataset
from sbs.errors import SBSError

DATASETS = ("digits", "cifar10", "cifar100")
DATA_DIR = "SBS_DATA_DIR"


def fetch(name: str, output: Path, directory: Path | None = None) -> Dataset:
    """Get a dataset, check it, and write it to ``output``.

    Args:
        name: one of :data:`DATASETS`.
        output: the file to write.
        directory: folder with a local copy; by default the one named by ``SBS_DATA_DIR``, and
            without that a download.

    Raises:
        SBSError: an unknown name, or no whole and unaltered copy to be had.
    """
    if directory is None and os.environ.get(DATA_DIR):
        directory = Path(os.environ[DATA_DIR])
    if name == "digits":
        from sbs.data.digits import load_digits

        dataset = load_digits()
    elif name in DATASETS:
        from sbs.data.cifar import load_cifar

        dataset = load_cifar(name, directory, output.parent / "downloads")
    else:
        raise SBSError(f"unknown dataset {name!r}; known are {', '.join(DATASETS)}")
    save_dataset(dataset, output)
    return dataset
