"""Render the page of the report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
from pygments.formatters import HtmlFormatter

from sbs.report.exhibits import Exhibit
from sbs.report.runs import Provenance, Statistics


def page(
    introduction: str,
    exhibits: Sequence[Exhibit],
    statistics: Statistics,
    provenance: Provenance,
    rules: Sequence[Any],
    configuration: Sequence[tuple[Path, str]],
) -> str:
    """One HTML page that needs no other file, no network and no script.

    Args:
        introduction: HTML of the introduction.
        exhibits: tables and figures in order; those of a category are together.
        statistics: times of the jobs.
        provenance: facts of the runs.
        rules: Snakemake's records of the rules, with ``name``, ``source`` and ``n_jobs``.
        configuration: path and text of the scale's files.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sbs.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = duration
    sections = [
        (name, list(group)) for name, group in groupby(exhibits, lambda exhibit: exhibit.category)
    ]
    return environment.get_template("page.html.jinja").render(
        introduction=introduction,
        sections=sections,
        statistics=statistics,
        provenance=provenance,
        rules=sorted(rules, key=lambda rule: rule.name),
        configuration=configuration,
        code_style=HtmlFormatter(style="default").get_style_defs(".highlight"),
        now=datetime.now(UTC),
    )


def duration(seconds: float) -> str:
    """Seconds as text, with units that fit."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
