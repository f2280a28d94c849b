"""DVC over the workflow: what it repeats after which edit, and that pulled results are results.

The stages, rules and tools are the real ones; only the programs that would train and plot are
stand-ins, which write what they were called with and a digest of what they read.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sbs.config.scale import STAGES, Scale
from sbs.registry.methods import section_types
from tests.conftest import ROOT
from tests.working_copy import edit, environment

STUB = """#!{python}
import hashlib, pathlib, sys

def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()

def write(path, text):
    path = pathlib.Path(path)
    if not path.suffix:
        path = path / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    number = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
    path.write_text('{{"number": ' + str(number) + '}}')
"""

SBS = """
words = sys.argv[1:]
options = ["--output", "--weights", "--record", "--policy", "--sizes"]
if words[0] in ("finetune", "export", "latency"):
    options.remove("--policy")
if words[0] in ("export", "latency"):
    options.remove("--weights")
outputs = [words[words.index(option) + 1] for option in options if option in words]
files = [pathlib.Path(word) for word in words if word not in outputs and len(word) < 200]
text = " ".join([*words, *(digest(file) for file in files if file.is_file())])
for output in outputs:
    write(output, output + text)
"""

PAPERMILL = """
OUTPUTS = ["csv_path", "markdown_path", "figure_path", "metrics_path"]
words = sys.argv[1:]
named = {words[i + 1]: words[i + 2] for i, word in enumerate(words) if word == "-p"}
inputs = [pathlib.Path(p) for k, v in named.items() if k not in OUTPUTS for p in v.split()]
text = hashlib.sha256(sys.stdin.read().encode()).hexdigest()
text += " ".join(digest(path) for path in inputs)
for name in OUTPUTS:
    if name in named:
        write(named[name], text)
write(words[-1], text)
"""

JUPYTEXT = """
print(pathlib.Path(sys.argv[-1]).read_text())
"""

JUPYTER = """
source = pathlib.Path(sys.argv[-1])
folder = pathlib.Path(sys.argv[sys.argv.index("--output-dir") + 1])
write(folder / (source.stem + ".html"), digest(source))
"""

STUBS = {"sbs": SBS, "papermill": PAPERMILL, "jupytext": JUPYTEXT, "jupyter": JUPYTER}
ROWS = {"fixed4 default", "haq default", "sbs default", "sbs memory", "sbs_q default"}
AFTER_SEARCH = {"exhibits", "finetune", "provenance"}
WITHOUT_HAQ = {"table2", "table5", "export", "trajectory", "configurations"}
"""Tables and figures that hold no HAQ run in this small sheet."""


class Clone:
    """A git clone of the project with DVC and the stand-ins."""

    def __init__(self, folder: Path, stubs: Path) -> None:
        self.folder = folder
        self.variables = environment(PATH=f"{stubs}:{environment()['PATH']}")
        self.variables["GIT_CONFIG_GLOBAL"] = str(stubs / "gitconfig")

    def run(self, *words: str) -> str:
        done = subprocess.run(
            words, cwd=self.folder, env=self.variables, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def repro(self) -> tuple[set[str], set[str]]:
        """Stages that DVC runs, and the outputs that Snakemake makes for them."""
        said = self.run("dvc", "repro")
        stages = set(re.findall(r"Running stage '(.*?)'", said))
        made = re.findall(r"^    output: (.*)$", said, flags=re.MULTILINE)
        return stages, {path for line in made for path in line.split(", ")}

    def planned(self) -> set[str]:
        """Outputs that Snakemake would make."""
        said = self.run("snakemake", "--dry-run")
        made = re.findall(r"^    output: (.*)$", said, flags=re.MULTILINE)
        return {path for line in made for path in line.split(", ")}


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    stubs, folder = tmp_path / "stubs", tmp_path / "project"
    stubs.mkdir()
    (stubs / "gitconfig").write_text("[user]\nname = test\nemail = test@localhost\n")
    for name, code in STUBS.items():
        (stubs / name).write_text(STUB.format(python=sys.executable) + code)
        (stubs / name).chmod(0o755)
    rubbish = shutil.ignore_patterns("__pycache__", "tmp", "cache", "config.local")
    for name in ("workflow", "config", "notebooks", "sbs", ".dvc"):
        shutil.copytree(ROOT / name, folder / name, ignore=rubbish)
    for name in ("environment.yml", "requirements.lock", "dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    edit(folder, networks=["resnet56"], seeds=[0])
    edit(folder, "pretrain", seeds=[0])
    sheet = folder / "config" / "experiments.tsv"
    first, *rows = sheet.read_text().splitlines()
    rows = [row for row in rows if row.startswith("resnet56")]
    rows = [row for row in rows if " ".join(row.split("\t")[1:3]) in ROWS]
    sheet.write_text("\n".join([first, *rows]) + "\n")
    made = Clone(folder, stubs)
    made.run("git", "init", "--quiet")
    commit(made, "As released")
    return made


def commit(clone: Clone, message: str) -> None:
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--message", message)


def stages() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return content


def test_every_section_of_the_scale_is_watched_by_the_stage_that_reads_it() -> None:
    watched = {
        name: {key for entry in stage.get("params", []) for keys in entry.values() for key in keys}
        for name, stage in stages().items()
    }
    peers = set(section_types())
    for name, sections in STAGES.items():
        needed = {*sections, *(peers if name == "search" else ())}
        if name != "fetch":
            needed |= {"scale", "results", "networks", "seeds", "tables", "network_options"}
        assert needed == watched[name], name
    # What jobs ask for changes no result.
    assert set(Scale.model_fields) - {"resources"} <= set().union(*watched.values())


def test_no_table_or_figure_is_named() -> None:
    """A new notebook needs no edit here: outputs are folders, and so are the notebooks."""
    for stage in stages().values():
        outs = [*stage["outs"], *stage.get("metrics", [])]
        paths = [path for out in outs for path in out]
        assert not [path for path in [*paths, *stage["deps"]] if Path(path).suffix == ".py"]
        own = {"data/digits.safetensors", "results/provenance.tar.gz"}
        assert not [path for path in paths if Path(path).suffix and path not in own]


def test_nothing_of_a_stage_is_deleted_before_it_runs() -> None:
    for stage in stages().values():
        for out in [*stage["outs"], *stage.get("metrics", [])]:
            assert list(out.values()) == [{"persist": True}]


@pytest.mark.end_to_end
def test_edits_repeat_what_depends_on_them_and_a_pull_is_as_good_as_a_run(
    clone: Clone, tmp_path: Path
) -> None:
    ran, _ = clone.repro()
    assert {"fetch", "pretrain", "search", *AFTER_SEARCH} == ran
    figures = clone.folder / "results" / "exhibits" / "figures"
    assert {path.name for path in figures.iterdir()} >= {"fig2.svg", "fig4.svg", "trajectory.svg"}
    assert clone.repro() == (set(), set())
    commit(clone, "First results")

    notebook = clone.folder / "notebooks" / "table1.py"
    notebook.write_text(notebook.read_text() + "\n# %% [markdown]\n# A remark.\n")
    ran, made = clone.repro()
    assert ran == {"exhibits", "provenance"}
    assert made == {
        "results/exhibits",
        *("results/table1.csv", "results/table1.md", "results/table1.svg"),
        "results/metrics/table1",
        *("results/notebooks/table1.ipynb", "results/notebooks/table1.html"),
    }

    edit(clone.folder, "haq", episodes=3)
    assert "haq.episodes" in clone.run("dvc", "params", "diff")
    ran, made = clone.repro()
    assert ran == {"search", *AFTER_SEARCH}
    assert "results/table1.csv" in made
    assert not made & {f"results/notebooks/{name}.ipynb" for name in WITHOUT_HAQ}
    trained = {path for path in made if path.startswith(("results/search", "results/finetune"))}
    assert trained
    assert all("/resnet56/haq/" in path for path in trained)
    assert "results/metrics/table1" in clone.run("dvc", "metrics", "diff")
    commit(clone, "Fewer episodes")

    remote = tmp_path / "remote"
    clone.run("dvc", "remote", "add", "--local", "store", str(remote))
    clone.run("dvc", "push", "--remote", "store")
    other = Clone(tmp_path / "other", tmp_path / "stubs")
    clone.run("git", "clone", "--quiet", ".", str(other.folder))
    other.run("dvc", "remote", "add", "--local", "--default", "store", str(remote))
    for line in recipe("pull"):
        other.run("sh", "-c", line)
    assert other.planned() == set()
    assert other.repro() == (set(), set())
    edit(other.folder, "haq", episodes=4)
    trained = {path for path in other.planned() if path.startswith("results/search")}
    assert trained
    assert all("/resnet56/haq/" in path for path in trained)


def recipe(target: str) -> list[str]:
    """Commands of a Makefile's target, without the environment that it puts before them."""
    text = (ROOT / "Makefile").read_text()
    lines = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", text, flags=re.MULTILINE)
    assert lines
    return [line.strip().removeprefix("$(RUN) ") for line in lines.group(1).splitlines()]
