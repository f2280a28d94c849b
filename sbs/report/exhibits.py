"""Tables and figures as HTML, each with its notebook and its data."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from markdown_it import MarkdownIt
from nbconvert.exporters import HTMLExporter

from sbs.errors import SBSError
from sbs.results.verdict_rendering import cells
from sbs.results.verdicts import score

CATEGORIES = ("Claims", "Tables", "Figures", "Theory")
"""Order of the categories on the page; other categories follow."""

MIME = {".csv": "text/csv", ".svg": "image/svg+xml", ".md": "text/markdown"}


@dataclass(frozen=True)
class Download:
    """A file that is embedded in the page."""

    name: str
    uri: str


@dataclass(frozen=True)
class Exhibit:
    """A table or figure of the report.

    Attributes:
        title: title that the rule gives it.
        category: heading above it.
        caption: HTML of the caption.
        body: HTML of the table or figure, and of the pictures that the rule made beside it.
        notebook: HTML of the executed notebook that made it, or None.
        downloads: its data.
        path: file of the table or figure.
        rule: rule that made it.
        inputs: input files of that rule.
    """

    title: str
    category: str
    caption: str
    body: str
    notebook: str | None
    downloads: list[Download]
    path: Path
    rule: str
    inputs: list[str]

    @property
    def anchor(self) -> str:
        """Identifier on the page."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def exhibits(results: Mapping[Any, Mapping[Any, list[Any]]]) -> list[Exhibit]:
    """All files that rules mark for the report, sorted by category and number.

    Args:
        results: category -> subcategory -> file records, as Snakemake passes them to plugins.
    """
    made = [
        _exhibit(category.name, record)
        for category, subcategories in results.items()
        for records in subcategories.values()
        for record in records
    ]
    return sorted(made, key=_position)


def shown(path: Path, title: str) -> str:
    """A table or figure as HTML.

    Raises:
        SBSError: the report cannot show this kind of file.
    """
    if path.stem == "claims":
        return _claims(pd.read_csv(path))
    if path.suffix == ".csv":
        table = pd.read_csv(path)
        return _scrolling(table.to_html(index=False, border=0, float_format="{:.4g}".format))
    if path.suffix == ".md":
        text = re.sub(r"\A# .*\n", "", path.read_text())
        return _scrolling(MarkdownIt("commonmark").enable("table").render(text))
    if path.suffix == ".svg":
        image = f'<img src="{_uri(path)}" alt="{html.escape(title)}">'
        return f'<div class="figure" tabindex="0">{image}</div>'
    raise SBSError(f"{path}: the report shows only .csv, .md and .svg files")


def notebook_html(path: Path) -> str:
    """An executed notebook as an HTML fragment without scripts."""
    exporter: Any = HTMLExporter(template_name="basic", exclude_anchor_links=True)  # type: ignore[no-untyped-call]
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    body, _ = exporter.from_notebook_node(notebook)
    return re.sub(r"<script\b.*?</script>", "", body, flags=re.DOTALL)


def _exhibit(category: str, record: Any) -> Exhibit:
    path = Path(record.path)
    title = str((record.labels or {}).get("title", path.stem))
    outputs = [Path(file) for file in record.job.output]
    notebook = next((file for file in outputs if file.suffix == ".ipynb" and file.exists()), None)
    pictures = [file for file in outputs if file.suffix == ".svg" and file.exists()]
    return Exhibit(
        title=title,
        category=category,
        caption=record.caption,
        body="\n".join(shown(file, title) for file in dict.fromkeys([path, *pictures])),
        notebook=notebook_html(notebook) if notebook else None,
        downloads=list(_downloads(outputs)),
        path=path,
        rule=record.job.rule.name,
        inputs=[str(file) for file in record.job.input],
    )


def _downloads(files: list[Path]) -> Iterator[Download]:
    for file in files:
        if file.suffix in MIME and file.exists():
            yield Download(file.name, _uri(file))


def _uri(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f"data:{MIME[path.suffix]};base64,{data}"


def _position(exhibit: Exhibit) -> tuple[int, bool, str, int]:
    """Sort key: category, then numbered titles by number, then the others."""
    known = exhibit.category in CATEGORIES
    rank = CATEGORIES.index(exhibit.category) if known else len(CATEGORIES)
    number = re.search(r"\d+$", exhibit.title)
    name = exhibit.title.rstrip("0123456789")
    return rank, number is None, name, int(number.group()) if number else 0


def _scrolling(content: str) -> str:
    """Let wide tables scroll in their own box; wrap only long cells."""
    boxed = content.replace("<table", '<div class="wide" tabindex="0"><table')
    boxed = boxed.replace("</table>", "</table></div>")
    return re.sub(r"<td( style=[^>]*)?>(?=[^<]{30})", r'<td class="text"\1>', boxed)


def _claims(verdicts: pd.DataFrame) -> str:
    scores = "".join(
        f"<p>Claims {kind}:</p><ul class='score'>{''.join(map(_badge, counts.items()))}</ul>"
        for kind, counts in score(verdicts).items()
    )
    claims = [cells(row) for _, row in verdicts.iterrows()]
    heads = "".join(f"<th>{head}</th>" for head in claims[0])
    rows = "".join(f"<tr>{''.join(map(_claim_cell, claim.items()))}</tr>" for claim in claims)
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f"{scores}{_scrolling(table)}"


def _badge(counted: tuple[str, int]) -> str:
    name, count = counted
    return f'<li class="{_class(name)}"><b>{count}</b> {name}</li>'


def _claim_cell(named: tuple[str, str]) -> str:
    name, text = named
    if name == "verdict":
        return f'<td><span class="{_class(text)}">{text}</span></td>'
    return f"<td>{html.escape(text)}</td>"


def _class(verdict: str) -> str:
    return f"verdict {verdict.replace(' ', '-')}"
