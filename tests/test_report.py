"""The report: what it shows, and that a browser without a network shows it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from sbs.errors import SBSError
from sbs.plots.tables import draw_table
from sbs.plots.trajectory import save_svg
from sbs.report.exhibits import exhibits, notebook_html, shown
from sbs.report.page import duration, page
from sbs.report.runs import provenance, statistics
from sbs.results.claims import OWN, PAPER
from tests.browser import DESKTOP, PHONE, assert_readable, chromium, seen
from tests.conftest import ROOT

MEASURED = ROOT / "results" / "measured" / "digits"


def test_wide_tables_get_a_box_and_lose_their_first_heading(tmp_path: Path) -> None:
    path = tmp_path / "table1.md"
    path.write_text("# Table 1\n\nWhat it says.\n\n| a | b |\n|:--|--:|\n| x < y | 2 |\n")
    body = shown(path, "Table 1")
    assert "<h1>" not in body
    assert "What it says." in body
    assert '<div class="wide" tabindex="0"><table>' in body
    assert "x &lt; y" in body


def test_unknown_kinds_of_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SBSError, match=r"table\.xlsx: the report shows"):
        shown(tmp_path / "table.xlsx", "Table")


def test_claims_are_counted_and_marked(tmp_path: Path) -> None:
    path = tmp_path / "claims.csv"
    path.write_text(
        "id,kind,claim,where,metric,unit,published_left,published_right,published,"
        "measured_left,measured_right,measured,low,high,detectable,p_holm,verdict\n"
        f'a,"{PAPER}",A <b> claim.,Abstract,bops,M,2.0,1.0,2.0,'
        "649.5,433,1.5,1.2,1.8,1.1,0.012,holds\n"
        f'b,"{PAPER}",Another.,Table 1,top1,%,,,,67.5,67,0.5,,,,,too close to call\n'
        f"c,{OWN},A third.,Table 9,top1,%,,,,,,,,,,,not run at this scale\n"
    )
    body = shown(path, "Claims")
    assert '<li class="verdict holds"><b>1</b> holds</li>' in body
    assert '<li class="verdict fails"><b>0</b> fails</li>' in body
    assert "<p>Claims of this project:</p>" in body
    assert "A &lt;b&gt; claim." in body
    first = ["2.000", "1.500", "1.200 to 1.800", "1.100", "0.012", "2 : 1 M", "649.5 : 433 M"]
    first += ["Abstract"]
    assert "".join(f"<td>{cell}</td>" for cell in first) in body
    assert "<td>0.50</td><td>one seed</td><td></td><td></td><td></td><td>67.5 : 67 %</td>" in body


def test_notebooks_come_without_scripts(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook()
    output = nbformat.v4.new_output(
        "display_data", data={"text/html": "<script>alert(1)</script><b>bold</b>"}
    )
    notebook.cells = [
        nbformat.v4.new_markdown_cell("# Title"),
        nbformat.v4.new_code_cell("x = 1", outputs=[output]),
    ]
    nbformat.write(notebook, tmp_path / "n.ipynb")
    body = notebook_html(tmp_path / "n.ipynb")
    assert "Title" in body
    assert "<b>bold</b>" in body
    assert "<script" not in body


def test_times_by_rule() -> None:
    jobs = [
        SimpleNamespace(rule="search", starttime=100.0, endtime=103.0),
        SimpleNamespace(rule="search", starttime=103.0, endtime=104.0),
        SimpleNamespace(rule="fetch", starttime=90.0, endtime=92.0),
    ]
    found = statistics(jobs)
    assert [times.rule for times in found.rules] == ["search", "fetch"]
    assert (found.rules[0].jobs, found.rules[0].total, found.rules[0].median) == (2, 4.0, 2.0)
    assert (found.jobs, found.total) == (3, 6.0)
    assert (found.last - found.first).total_seconds() == 14


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.42, "0.4 s"), (59.7, "59.7 s"), (61, "1 min 1 s"), (7260, "2 h 1 min")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_nothing_made_is_one_clear_error(tmp_path: Path) -> None:
    for name in ("workflow", "config", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    words = ["snakemake", "--reporter", "sbs", "--report-sbs-path", "report.html", "built"]
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "nothing to report yet" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


PICTURES = {
    "table1": ("bops",),
    "table2": ("memory",),
    "table5": ("bops", "search_time", "search_memory"),
}
"""Tables with a picture, and what it shows beside accuracy."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """The page of the committed snapshot of the default scale, and its exhibits' titles."""
    pictures = tmp_path_factory.mktemp("pictures")
    for name, amounts in PICTURES.items():
        figure = draw_table(pd.read_csv(MEASURED / f"{name}.csv"), name, *amounts)
        save_svg(figure, pictures / f"{name}.svg")
        plt.close(figure)
    records = sorted(MEASURED.glob("**/search.json")) + sorted(MEASURED.glob("**/metrics.json"))
    jobs = [
        SimpleNamespace(rule="finetune", starttime=1.0, endtime=9.0, output=[str(path)])
        for path in records
    ]
    results: dict[Any, Any] = {}
    for name, category, suffix in (
        *((f"table{n}", "Tables", ".md") for n in (1, 2, 5)),
        *((f"fig{n}", "Figures", ".svg") for n in (2, 3, 4)),
        ("export", "Tables", ".csv"),
        ("theory", "Theory", ".md"),
        ("claims", "Claims", ".csv"),
    ):
        path = MEASURED / f"{name}{suffix}"
        made = [str(f) for folder in (MEASURED, pictures) for f in sorted(folder.glob(f"{name}.*"))]
        job = SimpleNamespace(
            output=made, input=["results/runs.csv"], rule=SimpleNamespace(name=name)
        )
        record = SimpleNamespace(
            path=path, labels={"title": name}, caption="<p>Caption.</p>", job=job
        )
        named = SimpleNamespace(name=category)
        results.setdefault(category, (named, []))[1].append(record)
    shown_ones = exhibits(_Results(results))
    text = page(
        introduction="<p>Introduction.</p>",
        exhibits=shown_ones,
        statistics=statistics(jobs),
        provenance=provenance(jobs),
        rules=[
            SimpleNamespace(name=exhibit.rule, source="true", n_jobs=1) for exhibit in shown_ones
        ]
        + [SimpleNamespace(name="finetune", source="sbs finetune", n_jobs=len(jobs))],
        configuration=[(Path("config/config.yaml"), "scale: digits")],
    )
    return text, [exhibit.title for exhibit in shown_ones]


class _Results:
    """Snakemake's mapping of categories, which compare by name."""

    def __init__(self, results: dict[str, Any]) -> None:
        self._results = results

    def items(self) -> list[tuple[Any, dict[str, list[Any]]]]:
        return [(named, {"": records}) for named, records in self._results.values()]


def test_a_picture_stands_below_its_table_and_a_figure_only_once(tmp_path: Path) -> None:
    for name in ("table1.csv", "table1.svg", "fig4.csv", "fig4.svg"):
        (tmp_path / name).write_text("a,b\n1,2\n" if name.endswith("csv") else "<svg/>")
    bodies = {}
    for name, suffix in (("table1", ".csv"), ("fig4", ".svg")):
        made = [str(tmp_path / f"{name}{ending}") for ending in (".svg", ".csv", "")]
        rule = SimpleNamespace(name=name)
        record = SimpleNamespace(
            path=tmp_path / f"{name}{suffix}",
            labels={"title": name},
            caption="",
            job=SimpleNamespace(output=made, input=[], rule=rule),
        )
        (one,) = exhibits(_Results({"x": (SimpleNamespace(name="Tables"), [record])}))
        bodies[name] = one.body
        assert [file.name for file in one.downloads] == [f"{name}.svg", f"{name}.csv"]
    assert bodies["table1"].index("<table") < bodies["table1"].index("<img")
    assert "<table" not in bodies["fig4"]
    assert bodies["fig4"].count("<img") == 1


def test_exhibits_stand_in_the_papers_order(measured: tuple[str, list[str]]) -> None:
    _, titles = measured
    assert titles == [
        *("claims", "table1", "table2", "table5", "export", "fig2", "fig3", "fig4", "theory")
    ]


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_a_browser_without_a_network_shows_every_table_and_figure(
    measured: tuple[str, list[str]], tmp_path: Path, width: int
) -> None:
    text, titles = measured
    path = tmp_path / "report.html"
    path.write_text(text)
    with chromium() as browser:
        facts = seen(browser, path, width)
    assert facts.ids == titles
    # A table of runs has its picture below it.
    assert sorted(set(facts.images)) == ["fig2", "fig3", "fig4", "table1", "table2", "table5"]
    assert_readable(facts)
    assert "SBS-Q without bit sharing" in facts.text
