"""Write a table of methods in all its forms."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sbs.plots.tables import draw_table
from sbs.plots.trajectory import save_svg
from sbs.provenance.files import atomic_write_text
from sbs.results.metrics import write_metrics
from sbs.results.rendering import rendering


def write_table(
    table: pd.DataFrame,
    title: str,
    *,
    csv: str,
    markdown: str,
    metrics: str,
    figure: str,
    resources: tuple[str, ...] = ("bops",),
    amounts: tuple[str, ...] = (),
    below: str = "",
) -> str:
    """Write a table as CSV, as Markdown, as metrics of DVC and as a picture.

    Args:
        table: table of :func:`sbs.results.tables.table_of_runs`.
        title: heading.
        csv: file.
        markdown: file.
        metrics: folder.
        figure: SVG file.
        resources: costs that the table compares methods by.
        amounts: what the picture shows besides, see :func:`sbs.plots.tables.draw_table`.
        below: Markdown that follows the table.

    Returns:
        The Markdown, to show it.
    """
    table.to_csv(csv, index=False)
    write_metrics(table, Path(metrics))
    text = rendering(table, title, *resources) + below
    atomic_write_text(Path(markdown), text)
    save_svg(draw_table(table, title, *resources, *amounts), figure)
    return text
