"""The studies by name; each produces a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from sbs.errors import SBSError
from sbs.provenance.files import atomic_write
from sbs.theory import convergence, error_bound, sizes, statements

STUDIES: dict[str, Callable[[], pd.DataFrame]] = {
    "statements": statements.table,
    "error-bound": error_bound.table,
    "toy-curves": convergence.curves,
    "toy-numbers": convergence.summary,
    "toy-limits": convergence.limits,
    "search-space": sizes.search_spaces,
    "packing": sizes.packing,
}


def write(name: str, output: Path) -> None:
    """Run a study and write its table as CSV, atomically.

    Raises:
        SBSError: the name of the study is unknown.
    """
    if name not in STUDIES:
        raise SBSError(f"unknown study {name!r}; known are {', '.join(STUDIES)}")
    table = STUDIES[name]()
    with atomic_write(output) as temporary:
        table.to_csv(temporary, index=False)
