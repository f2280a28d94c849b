"""The table of verdict counts in the README, from the committed snapshots."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from sbs.errors import SBSError
from sbs.provenance.files import atomic_write_text
from sbs.results.claims import KINDS
from sbs.results.verdicts import score

BEGIN = "<!-- written by `make snapshot` -->"
END = "<!-- end -->"


def scoreboard(measured: Path) -> str:
    """A Markdown table with a row for each kind of claims and scale that has judged them.

    Args:
        measured: folder of snapshots, one per scale; links in the table start with this path.
    """
    rows = [
        {"claims": kind, "scale": f"[{path.parent.name}]({path.with_suffix('.md').as_posix()})"}
        | counts
        for path in sorted(measured.glob("*/claims.csv"))
        for kind, counts in score(pd.read_csv(path)).items()
    ]
    rows.sort(key=lambda row: KINDS.index(row["claims"]))
    return pd.DataFrame(rows).to_markdown(index=False)


def updated(readme: str, table: str) -> str:
    """Return ``readme`` with ``table`` between its markers.

    Raises:
        SBSError: the markers are missing.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SBSError(f"README.md: no line {BEGIN!r} before a line {END!r}")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def main() -> None:
    """Run ``python -m sbs.results.scoreboard`` in the project's folder."""
    readme = Path("README.md")
    try:
        text = updated(readme.read_text(), scoreboard(Path("results/measured")))
    except (OSError, SBSError) as error:
        sys.exit(f"sbs: {error}")
    atomic_write_text(readme, text)


if __name__ == "__main__":
    main()
