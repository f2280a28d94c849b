"""Tables as plain text, in a terminal and in a notebook alike."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table


def as_text(table: Table, lines: Iterable[str], width: int) -> str:
    """A table and lines below it, without colours.

    Args:
        table: the table.
        lines: the lines.
        width: characters of a line.
    """
    console = Console(width=width, color_system=None, force_jupyter=False)
    with console.capture() as capture:
        console.print(table)
        for line in lines:
            console.print(line, highlight=False)
    return capture.get()
