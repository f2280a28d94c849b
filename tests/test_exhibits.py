"""Tables and figures register themselves by the headers of their notebooks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sbs.errors import SBSError
from sbs.registry.exhibits import exhibits, read_exhibit
from tests.conftest import ROOT
from tests.working_copy import environment

KEYS: dict[str, Any] = {
    "title": "Table 9",
    "category": "Tables",
    "caption": "Measured at the scale {{ config.scale }}.",
    "inputs": {
        "runs_path": "<results>/runs/table9.csv",
        "record_path": "<results>/search/{run}/search.json",
        "sizes_paths": ["<results>/export/{run}/sizes.json", "config/published.csv"],
    },
    "outputs": {
        "csv_path": "<results>/table9.csv",
        "metrics_path": "<results>/metrics/table9",
        "score_path": "<results>/metrics/table9.json",
    },
    "shows": "csv_path",
}
BODY = """
# %% tags=["parameters"]
runs_path = record_path = sizes_paths = csv_path = metrics_path = score_path = ""

# %%
raise RuntimeError("nobody runs a notebook to know what it needs")
import sbs.cost.bops as cost
from sbs.results import metrics
from sbs.results.tables import table5
"""


def notebook(folder: Path, name: str = "table9", body: str = BODY, **changes: Any) -> Path:
    """A notebook with the keys above; None takes a key away."""
    keys = {key: value for key, value in {**KEYS, **changes}.items() if value is not None}
    header = yaml.safe_dump({"jupyter": {"kernelspec": {"name": "python3"}, "sbs": keys}})
    lines = "".join(f"# {line}\n" for line in header.splitlines())
    path = folder / f"{name}.py"
    path.write_text(f"# ---\n{lines}# ---\n{body}")
    return path


def test_a_header_says_what_the_workflow_needs(tmp_path: Path) -> None:
    one = read_exhibit(notebook(tmp_path))
    assert (one.name, one.title, one.category) == ("table9", "Table 9", "Tables")
    assert one.takes_rows
    assert one.files == ["<results>/table9.csv"]
    assert one.modules == (
        *("sbs.cost.bops", "sbs.results", "sbs.results.metrics", "sbs.results.tables"),
    )
    assert one.caption_for({"scale": "digits"}) == "Measured at the scale digits."


def test_a_path_stands_for_the_first_run_and_a_list_for_all(tmp_path: Path) -> None:
    rows = [["a/b/c/seed-0", "a/b/c/seed-1"], ["d/e/f/seed-0", "d/e/f/seed-1"]]
    records = ["<results>/search/{runs}/search.json"]
    inputs = KEYS["inputs"] | {"metrics_path": records}
    assert read_exhibit(notebook(tmp_path, inputs=inputs)).inputs_for(rows) == {
        "runs_path": "<results>/runs/table9.csv",
        "record_path": "<results>/search/a/b/c/seed-0/search.json",
        "sizes_paths": [
            "<results>/export/a/b/c/seed-0/sizes.json",
            "<results>/export/d/e/f/seed-0/sizes.json",
            "config/published.csv",
        ],
        "metrics_path": [f"<results>/search/{run}/search.json" for row in rows for run in row],
    }


def test_what_reads_all_runs_or_none_takes_no_rows(tmp_path: Path) -> None:
    for path in ("<results>/runs/all.csv", "<results>/theory/packing.csv"):
        one = read_exhibit(notebook(tmp_path, inputs={"runs_path": path}))
        assert not one.takes_rows
        assert one.inputs_for([]) == {"runs_path": path}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": None}, r"table9\.py: sbs\.title: Field required"),
        ({"colour": 1}, r"table9\.py: sbs\.colour: Extra inputs"),
        ({"shows": "figure_path"}, "shows: 'figure_path' is not one of the outputs"),
        (
            {"outputs": {"csv_path": "table9.csv"}},
            r"csv_path: .* must begin with <results>/",
        ),
        ({"inputs": {"data_path": "x"}}, "data_path is not a parameter of the notebook; assign it"),
        ({"outputs": {}}, r"sbs\.outputs: "),
    ],
)
def test_mistakes_in_a_header_are_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SBSError, match=message):
        read_exhibit(notebook(tmp_path, **changes))


def test_a_caption_that_names_nothing_is_refused(tmp_path: Path) -> None:
    one = read_exhibit(notebook(tmp_path, caption="{{ config.skale }}"))
    with pytest.raises(SBSError, match=r"sbs\.caption: .*skale"):
        one.caption_for({"scale": "digits"})


@pytest.mark.parametrize(
    "text", ["import pandas\n", "# ---\n# jupyter: {}\n# ---\n", "# ---\n# ---\n"]
)
def test_a_notebook_without_a_header_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "table9.py").write_text(text)
    with pytest.raises(SBSError, match="the header has no mapping jupyter: sbs:"):
        exhibits(tmp_path)


def test_every_notebook_of_the_project_is_well_formed() -> None:
    found = exhibits(ROOT / "notebooks")
    assert {"table1", "fig4", "claims", "theory", "packing", "search_space"} <= set(found)
    for one in found.values():
        assert one.caption_for({"scale": "s", "data": {"dataset": "d"}})
        assert all(Path(path).name.startswith(one.name) for path in one.outputs.values())
    written = [path for one in found.values() for path in one.outputs.values()]
    assert len(set(written)) == len(written)


def test_another_package_registers_a_notebook_without_being_imported(tmp_path: Path) -> None:
    package, info = tmp_path / "other_lab", tmp_path / "other_lab-1.dist-info"
    for folder in (package / "notebooks", info):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "tools.py").write_text("")
    notebook(package / "notebooks", name="other", body=BODY + "from other_lab.tools import draw\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-lab\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[sbs.notebooks]\nother = other_lab.notebooks.other\n")
    code = (
        "import sys; from pathlib import Path; from sbs.registry.exhibits import exhibits; "
        "one = exhibits(Path('notebooks'))['other']; print(one.notebook, *one.modules); "
        "assert not {'torch', 'other_lab'} & set(sys.modules)"
    )
    paths = f"{tmp_path}:{environment().get('PYTHONPATH', '')}"
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(PYTHONPATH=paths),
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    assert str(package / "notebooks" / "other.py") in said.stdout
    assert "other_lab.tools" in said.stdout


def test_two_notebooks_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = notebook(tmp_path)
    twice = [(path, None), (path, "other_lab")]
    monkeypatch.setattr("sbs.registry.exhibits._notebooks", lambda folder: twice)
    with pytest.raises(SBSError, match="has the same name; rename one"):
        exhibits(tmp_path)
