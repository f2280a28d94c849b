"""Are the numbers in the documents those of the committed results?

A number in a Markdown document is followed by a comment that says where it comes from, and that a
reader of the page does not see::

    66.8<!-- cifar100-short/table1.csv top1_mean: resnet20 haq -->
    0.8<!-- cifar100-short/table1.csv top1_mean: resnet20 dnas - resnet20 sbs -->

After the colon stand cells that only one row of the table has, in any order and with quotes around
one that has blanks; or two such rows with a minus or a slash between them. The recomputed value is
rounded to as many digits as the number has. From a line ``<!-- measured -->`` to the next
``<!-- end of measured -->`` every number with a decimal point needs such a comment.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from sbs.errors import SBSError

NUMBER = r"(?P<number>[+−-]?\d+(?:\.\d+)?)"
QUOTED = re.compile(NUMBER + r"<!-- (?P<source>\S+\.csv [^>]*?) -->")
SOURCE = re.compile(
    r"(?P<table>\S+\.csv) (?P<column>\w+): (?P<row>.+?)(?: (?P<sign>[-/]) (?P<other>.+))?$"
)
MEASURED = re.compile(r"<!-- measured -->\n(?P<text>.*?)<!-- end of measured -->", re.DOTALL)
DECIMAL = re.compile(r"(?<![\w.])\d+\.\d+(?!\w|\.\d)")
NO_TEXT = re.compile(r"\]\([^)]*\)|`[^`]*`|<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Quote:
    """A number in a document.

    Attributes:
        document: path of the document.
        line: its line, from 1.
        number: the number as it stands there.
        source: where it comes from.
    """

    document: Path
    line: int
    number: str
    source: str

    @property
    def place(self) -> str:
        """Document and line, for messages."""
        return f"{self.document}:{self.line}"


def check(documents: Sequence[Path], measured: Path) -> tuple[int, list[str]]:
    """Recompute every quoted number.

    Args:
        documents: Markdown files.
        measured: folder of the snapshots.

    Returns:
        How many numbers were recomputed, and a message for each that is wrong or has no source.
    """
    messages, count = [], 0
    for document in documents:
        text = document.read_text()
        for quote in quotes(document, text):
            count += 1
            value = f"{number_of(quote, measured):.{_digits(quote.number)}f}"
            if float(value) != float(_ascii(quote.number)):
                messages.append(f"{quote.place}: {quote.number}, but {quote.source} is {value}")
        messages += [f"{document}:{line}: {n} has no source" for line, n in unsourced(text)]
    return count, messages


def quotes(document: Path, text: str) -> Iterator[Quote]:
    """All numbers of a document that have a source."""
    for match in QUOTED.finditer(text):
        yield Quote(document, _line(text, match.start()), match["number"], match["source"])


def unsourced(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of the numbers without a source, where all must have one."""
    for section in MEASURED.finditer(text):
        plain = QUOTED.sub(lambda match: " " * len(match[0]), section["text"])
        plain = NO_TEXT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), plain)
        for match in DECIMAL.finditer(plain):
            yield _line(text, section.start("text") + match.start()), match[0]


def number_of(quote: Quote, measured: Path) -> float:
    """The number that the source of a quote gives now.

    Raises:
        SBSError: the source is malformed, or names no table, column or single row.
    """
    parts = SOURCE.match(quote.source)
    if parts is None:
        raise SBSError(
            f"{quote.place}: cannot read the source {quote.source!r}; write 'scale/table.csv "
            "column: network method', or two rows with - or / between them"
        )
    table, column = measured / parts["table"], parts["column"]
    value = _cell(quote.place, table, column, parts["row"])
    if parts["other"] is None:
        return value
    other = _cell(quote.place, table, column, parts["other"])
    return value - other if parts["sign"] == "-" else value / other


def _cell(place: str, path: Path, column: str, row: str) -> float:
    table = _table(path)
    if table is None:
        raise SBSError(f"{place}: {path} does not exist; correct the table's name")
    if column not in table:
        raise SBSError(f"{place}: {path} has no column {column}; it has {', '.join(table.columns)}")
    names = shlex.split(row)
    texts = table.select_dtypes(exclude="number").astype(str)
    found = table.loc[[set(names) <= set(cells) for cells in texts.to_numpy()], column]
    if len(found) != 1:
        raise SBSError(f"{place}: {path} has {len(found)} rows with {row!r}; name one")
    return float(found.iloc[0])


@cache
def _table(path: Path) -> pd.DataFrame | None:
    return pd.read_csv(path) if path.exists() else None


def _ascii(number: str) -> str:
    return number.replace("−", "-")


def _digits(number: str) -> int:
    return len(number.partition(".")[2])


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def main() -> None:
    """Run ``python -m sbs.results.evidence`` in the project's folder."""
    documents = [Path("README.md"), *sorted(Path("docs").glob("*.md"))]
    try:
        count, messages = check(documents, Path("results/measured"))
    except SBSError as error:
        sys.exit(f"sbs: {error}")
    if messages:
        sys.exit("\n".join(messages))
    print(f"{count} numbers agree with results/measured")


if __name__ == "__main__":
    main()
