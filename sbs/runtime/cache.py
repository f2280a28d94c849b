"""The folder of files that are made once on a machine: compiled kernels, facts of networks."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

CACHE_VARIABLE = "SBS_CACHE"
"""Environment variable: this folder, by default ``sbs`` in the user's cache folder."""


def cache_folder() -> Path:
    """The folder; it need not exist yet."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else user_cache_path("sbs")
