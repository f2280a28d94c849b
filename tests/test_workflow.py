"""The workflow: what it would run, what an edit reruns, and a whole run on real digits."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from sbs.cost.template import write_template
from sbs.provenance.code import imported_by
from sbs.provenance.files import sha256_of_file
from sbs.provenance.records import RunRecord
from sbs.registry.methods import method, searching_methods
from tests.conftest import ROOT
from tests.working_copy import copy, edit, environment, planned, snakemake, with_stub

__all__ = ["copy"]  # a fixture

SEARCHES_OF_SBS = ("sbs_p", "sbs_q", "sbs")


def test_edits_rerun_what_depends_on_them_and_nothing_else(copy: Path) -> None:
    goal = "results/runs/table1.csv"
    done = snakemake(copy, goal, PATH=with_stub(copy))
    assert done.returncode == 0, done.stderr
    assert planned(copy, goal) == set()
    edit(copy, "finetune", learning_rate=0.01)
    assert planned(copy, goal) == {"finetune", "collect"}
    edit(copy, "finetune", **yaml.safe_load((ROOT / "config/config.yaml").read_text())["finetune"])
    edit(copy, "finetune", epochs=3)
    assert planned(copy, goal) == set()
    edit(copy, "search", group_size=2)
    assert planned(copy, goal) == {"search", "finetune", "collect"}
    edit(copy, "search", group_size=4)
    edit(copy, seeds=[0, 1])
    done = snakemake(copy, "--dry-run", goal)
    assert "seed-1" in done.stdout
    assert "seed-0/policy.json" not in done.stdout.replace("input", "")
    sheet = copy / "config" / "experiments.tsv"
    edit(copy, seeds=[0])
    sheet.write_text(sheet.read_text().replace("0.7 x full", "0.8 x full"))
    done = snakemake(copy, "--dry-run", goal)
    assert "sbs_p" in done.stdout
    assert "search/resnet20/sbs_q/default/seed-0/policy.json" not in done.stdout


def test_a_stale_dataset_hides_no_missing_results(copy: Path) -> None:
    """Snakemake forgets jobs behind a stale one whose output is marked as ancient."""
    goal = "results/runs/table1.csv"
    done = snakemake(copy, goal, PATH=with_stub(copy))
    assert done.returncode == 0, done.stderr
    shutil.rmtree(copy / "results/finetune")
    assert planned(copy, "--forcerun", "fetch", "--", goal) >= {"fetch", "finetune", "collect"}


def test_ready_jobs_are_looked_at_only_when_a_job_has_ended(copy: Path) -> None:
    """Snakemake's rate limit would look again each second, for every job that has ended."""
    path = with_stub(copy)
    stub = copy / "stub" / "sbs"
    stub.write_text(stub.read_text().replace("words =", "import time; time.sleep(0.4)\nwords =", 1))
    done = snakemake(copy, "--verbose", "results/runs/table1.csv", PATH=path)
    assert done.returncode == 0, done.stderr
    ended = done.stderr.count("Finished jobid")
    assert ended > 20
    looks = done.stderr.count("Ready jobs: ")
    assert looks <= ended


def test_a_scale_has_the_seeds_that_it_names(copy: Path) -> None:
    """Not fewer because the default scale has fewer for this table."""
    words = ["--dry-run", "--configfile", "config/cifar100.yaml", "--", "exhibit_table9"]
    done = snakemake(copy, *words)
    assert done.returncode == 0, done.stderr
    assert "finetune/resnet20/sbs/group-1/seed-4/metrics.json" in done.stdout + done.stderr


def test_an_edit_of_a_method_concerns_its_own_searches_alone() -> None:
    shared = imported_by("sbs.stages.search")
    assert not shared & {method(name).module for name in searching_methods()}
    assert "sbs.methods.haq.environment" in imported_by(method("haq").module)
    for other in ("sbs", "sbs_q", "dnas", "dq"):
        assert not imported_by(method(other).module) & {
            "sbs.methods.haq.environment",
            "sbs.methods.haq",
        }


def test_fine_tuning_starts_where_the_settings_say(copy: Path) -> None:
    edit(copy, "finetune", start="pretrained")
    done = snakemake(copy, "--dry-run", "--printshellcmds", "results/runs/table1.csv")
    assert done.returncode == 0, done.stderr
    starts = dict(
        re.findall(r"sbs finetune --network resnet20 --method (\w+) .* --start (\S+)", done.stdout)
    )
    assert starts["sbs"] == starts["dnas"] == starts["fixed4"]
    assert starts["sbs"] == "results/pretrain/resnet20/seed-0/weights.safetensors"
    for name in ("haq", "dq"):
        run = f"results/search/resnet20/{name}/default/seed-0"
        assert starts[name] == f"{run}/weights.safetensors"


def test_lint_and_format() -> None:
    command = [sys.executable, "-m", "snakefmt", "--check", "workflow"]
    formatted = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert formatted.returncode == 0, formatted.stderr
    lint = [sys.executable, "-m", "snakemake", "--lint"]
    done = subprocess.run(lint, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.end_to_end
def test_table_1_on_real_digits_is_the_same_after_a_kill(copy: Path) -> None:
    """A whole run, and one whose training jobs are killed on the way: the same accuracies."""
    done = snakemake(copy, "results/table1.csv")
    assert done.returncode == 0, done.stdout + done.stderr
    whole = pd.read_csv(copy / "results/table1.csv")
    shutil.move(copy / "results", copy / "first")

    command = [sys.executable, "-m", "snakemake", "--cores", "2", "results/table1.csv"]
    process = subprocess.Popen(
        command, cwd=copy, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    killed = kill_training_jobs(process, copy, count=2)
    process.wait(timeout=600)
    assert killed == 2
    done = snakemake(copy, "results/table1.csv")
    assert done.returncode == 0, done.stdout + done.stderr
    again = pd.read_csv(copy / "results/table1.csv")

    same = [name for name in whole if not name.startswith(("search_", "published_search"))]
    pd.testing.assert_frame_equal(whole[same], again[same], check_exact=True)
    controls = ["fp", "fixed32", "fixed4", "random"]
    assert list(whole["method"]) == [*controls, "dq", "haq", "dnas", *SEARCHES_OF_SBS]
    rows = whole.set_index("method")
    assert rows.pop("seeds").eq(1).drop("random").all()  # two policies a seed
    assert rows["search_hours"].drop(controls).gt(0).all()
    targets = dict.fromkeys(("random", "dnas", *SEARCHES_OF_SBS), rows.loc["fixed4", "bops_m"])
    targets["sbs_p"] = 0.7 * rows.loc["fp", "bops_m"]
    for name, target in targets.items():
        assert 0.95 * target <= rows.loc[name, "bops_m"] <= target
    assert rows.loc["haq", "bops_m"] <= rows.loc["fixed4", "bops_m"]
    assert "the two do not compare" in (copy / "results/table1.md").read_text()
    assert (copy / "results/notebooks/table1.html").exists()
    assert planned(copy, "results/table1.csv") == set()


@pytest.mark.end_to_end
def test_the_other_tables_and_figure_4(copy: Path) -> None:
    """Real runs of ResNet-56, of one epoch each, to everything else that the sheet feeds."""
    edit(copy, networks=["resnet56"])
    for stage in ("pretrain", "search", "finetune"):
        edit(copy, stage, epochs=1)
    sheet = copy / "config" / "experiments.tsv"
    kept = {"fixed4 default", "sbs memory", "sbs_q default", "sbs_q multi-path"}
    first, *rows = sheet.read_text().splitlines()
    rows = [row for row in rows if row.startswith("resnet56")]
    rows = [row for row in rows if " ".join(row.split("\t")[1:3]) in kept]
    sheet.write_text("\n".join([first, *rows]) + "\n")
    results = copy / "results"
    names = ("table2.csv", "table5.csv", "fig4.svg", "export.csv")
    outputs = [f"results/{name}" for name in names]
    done = snakemake(copy, *outputs)
    assert done.returncode == 0, done.stdout + done.stderr

    table2 = pd.read_csv(results / "table2.csv")
    assert list(table2["method"]) == ["fp", "fixed4", "sbs"]
    assert table2["memory_kb"].iloc[2] <= table2["memory_kb"].iloc[1]
    assert "| SBS " in (results / "table2.md").read_text()
    table5 = pd.read_csv(results / "table5.csv")
    assert list(table5["method"]) == ["sbs_q", "sbs_q_without_sharing"]
    assert table5["search_hours_over_sharing"].iloc[1] > 1
    exports = pd.read_csv(results / "export.csv").set_index("method")
    assert exports["packed_over_weights"].between(1, 1.01).all()
    assert exports.loc["fixed4", "weights_kb"] < exports.loc["fixed4", "memory_kb"]
    assert exports["onnx_kb"].between(exports["weights_kb"], exports["float_kb"] / 4).all()
    assert exports[["onnx_ms", "float_ms"]].gt(0).all(axis=None)
    points = pd.read_csv(results / "fig4.csv")
    assert {"measured", "published"} == set(points["source"])
    assert (results / "notebooks" / "fig4.html").exists()

    done = snakemake(copy, "--reporter", "sbs", "--report-sbs-path", "results/report.html", "built")
    assert done.returncode == 0, done.stdout + done.stderr
    report = (results / "report.html").read_text()
    shown = re.findall(r'<article id="(.*?)">', report)
    assert shown == ["table-2", "table-5", "exported-networks", "figure-4"]
    assert "http://" not in re.sub(r"<pre.*?</pre>|data:[^\"]*", "", report, flags=re.DOTALL)
    assert report.count("The executed notebook") == 4
    assert "Measured at the scale digits" in report
    assert "Code revision" in report


@pytest.mark.end_to_end
def test_table_6_and_a_cost_of_ones_own(copy: Path) -> None:
    """Searches for an accelerator's latency and for a table of costs land by themselves."""
    epochs = yaml.safe_load((ROOT / "config/config.yaml").read_text())["search"]["epochs"]
    edit(copy, "search", epochs=epochs)
    costs = copy / "config" / "costs.csv"
    write_template("resnet20", (2, 4, 8), 4, costs, 10, 8, 1, resource="bitfusion-energy")
    sheet = copy / "config" / "experiments.tsv"
    kept = ("resnet20\tfixed8\t", "resnet20\tsbs\tlatency\t")
    first, *rows = sheet.read_text().splitlines()
    rows = [row for row in rows if row.startswith(kept)]
    own = "search.resource=table:config/costs.csv; search.target=0.8 x 8-bit"
    sheet.write_text("\n".join([first, *rows, f"resnet20\tsbs\tmine\t\t{own}"]) + "\n")
    folder = "results/search/resnet20/sbs"
    goals = ("results/table6.csv", f"{folder}/mine/seed-0/search.json")
    done = snakemake(copy, *goals)
    assert done.returncode == 0, done.stdout + done.stderr

    for variant in ("latency", "mine"):
        record = RunRecord.load(copy / folder / variant / "seed-0" / "search.json")
        assert record.landing_flips == 0
        assert record.found_cost is not None
        assert record.target is not None
        assert 0.95 <= record.found_cost / record.target <= 1
    assert record.inputs["costs"] == sha256_of_file(costs)
    table = pd.read_csv(copy / "results" / "table6.csv").set_index("method")
    assert list(table.index) == ["fp", "fixed8", "sbs_latency_constrained"]
    assert pd.isna(table["latency_ratio"]["fp"])
    assert table["latency_ratio"]["fixed8"] == pytest.approx(1)
    found = table["latency_ratio"]["sbs_latency_constrained"]
    assert 1 / 0.867 <= found <= 1 / (0.95 * 0.867)
    assert "latency (ms)" in (copy / "results" / "table6.md").read_text()

    first, second, *rest = costs.read_text().splitlines()
    costs.write_text("\n".join([first, second.rsplit(",", 1)[0] + ",1e-6", *rest]) + "\n")
    assert planned(copy, *goals) == {"search"}


def test_the_default_goal_is_every_table_and_figure_with_runs(copy: Path) -> None:
    few = planned(copy)
    assert {"exhibit_table1", "exhibit_trajectory", "exhibit_fig2", "collect"} <= few
    assert "exhibit_fig4" not in few
    edit(copy, networks=["resnet20", "resnet56"])
    assert "exhibit_fig4" in planned(copy)


def test_a_new_notebook_is_a_new_table_and_needs_nothing_else(copy: Path) -> None:
    text = (copy / "notebooks" / "table1.py").read_text()
    (copy / "notebooks" / "table99.py").write_text(text.replace("table1", "table99"))
    assert "exhibit_table99" not in planned(copy)
    sheet = copy / "config" / "experiments.tsv"
    sheet.write_text(sheet.read_text().replace("\ttable1 table5", "\ttable1 table99"))
    assert "exhibit_table99" in planned(copy)
    done = snakemake(copy, "--dry-run", "results/table99.csv")
    assert len(re.findall(r"^rule search:", done.stdout, re.MULTILINE)) == 1


def test_a_table_without_rows_at_this_scale_is_refused_in_one_line(copy: Path) -> None:
    edit(copy, networks=["resnet56"])
    sheet = copy / "config" / "experiments.tsv"
    sheet.write_text(sheet.read_text().replace(" trajectory", ""))
    done = snakemake(copy, "--dry-run", "results/trajectory.svg")
    assert done.returncode != 0
    reason = "no row of config/experiments.tsv for resnet56 has trajectory in its column"
    assert reason in done.stdout + done.stderr


def test_a_scale_can_leave_a_table_out(copy: Path) -> None:
    assert "/scratch/" in snakemake(copy, "--dry-run").stdout
    edit(copy, tables={"table12": {"rows": []}})
    assert "/scratch/" not in snakemake(copy, "--dry-run").stdout
    done = snakemake(copy, "--dry-run", "results/table12.csv")
    assert done.returncode != 0
    assert "table12" in done.stdout + done.stderr


def kill_training_jobs(process: subprocess.Popen[bytes], folder: Path, count: int) -> int:
    """SIGKILL training jobs under ``process`` that have a state to go on from."""
    killed: set[int] = set()
    while process.poll() is None and len(killed) < count:
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                words = child.cmdline()
            except psutil.Error:
                continue
            record = next((w for w in words if w.endswith((".json",)) and "seed-0" in w), None)
            training = "python" in Path(words[0]).name if words else False
            if record is None or not training or child.pid in killed:
                continue
            if list((folder / record).parent.glob("resume/state-*.pt")):
                child.send_signal(signal.SIGKILL)
                killed.add(child.pid)
        time.sleep(0.02)
    return len(killed)
