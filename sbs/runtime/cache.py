"""The folder for files that are made once per machine: compiled kernels, facts of networks."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

CACHE_VARIABLE = "SBS_CACHE"
"""Environment variable with the path of this folder; default: ``sbs`` in the user's cache."""


def cache_folder() -> Path:
    """Path of the folder; it may not exist yet."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else user_cache_path("sbs")
