"""The documentation builds as a site without a warning, and a browser can read it."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

import sbs
from tests.browser import DESKTOP, PHONE, chromium, seen
from tests.conftest import ROOT

PAGES = ("index", "docs/digits", "docs/method", "docs/api", "results/measured/digits/table1")
BROKEN = """# Page
[page](nowhere.md), [place](#nowhere), [file](nowhere.csv), ![picture](nowhere.svg)

```{eval-rst}
.. autofunction:: sbs.nowhere

:func:`sbs.nowhere_else`
```
"""


def build(source: Path, site: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", *options]
    command += ["--conf-dir", str(ROOT / "docs"), str(source), str(site)]
    return subprocess.run(command, capture_output=True, text=True)


def outputs(page: str) -> list[str]:
    """Text or picture of the outputs of a notebook's cells."""
    found = re.findall(r'<div class="cell_output.*?(?:</pre>|</table>|<img[^>]*>)', page, re.S)
    return [unescape(re.sub(r"<(?!img)[^>]+>", "", output)) for output in found]


@pytest.mark.end_to_end
def test_the_site_builds_without_a_warning_and_runs_its_notebook(tmp_path: Path) -> None:
    site = tmp_path / "site"
    built = build(ROOT, site)
    assert built.returncode == 0, built.stderr
    api = (site / "docs" / "api.html").read_text()
    assert [name for name in sbs.__all__ if f'id="sbs.{name}"' not in api] == []
    inspected, compressed, search, front, picture, saved, exported = outputs(
        (site / "docs" / "digits.html").read_text()
    )
    assert "targets from" in inspected
    assert "target 0.005 x full: the search got there" in compressed
    assert search.count("epoch ") == 10
    assert "full precision" in front
    assert ".svg" in picture
    assert float(saved.split(":")[1]) < 1e-4
    assert float(re.findall(r"([\d.]+)%", exported)[0]) > 99


def test_what_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(BROKEN)
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    for name in ("nowhere.md", "'nowhere'", "nowhere.csv", "nowhere.svg"):
        assert name in built.stderr
    assert "attribute 'nowhere'" in built.stderr or "'sbs.nowhere'" in built.stderr
    assert "py:func reference target not found: sbs.nowhere_else" in built.stderr


def test_a_browser_reads_the_site_at_any_width_without_a_network(tmp_path: Path) -> None:
    with chromium() as browser:
        build(ROOT, tmp_path / "site", "--define", "nb_execution_mode=off")
        for page in PAGES:
            for width in (PHONE, DESKTOP):
                facts = seen(browser, tmp_path / "site" / f"{page}.html", width)
                assert facts.errors == []
                assert facts.requests == []
                assert [link for link in facts.dangling if link != "#"] == []
                assert facts.width <= facts.viewport, page
                assert facts.font >= 16
            images = "return [...document.images].filter(e => !e.naturalWidth).map(e => e.src)"
            assert browser.execute_script(images) == []
