"""The plan of a dry run, and the progress of a real one."""

from __future__ import annotations

import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from sbs.config.scale import Scale
from sbs.plan.costs import EFFORTS, OTHER
from sbs.plan.estimates import Estimates
from sbs.plan.handler import LogHandler
from sbs.plan.progress import Progress
from sbs.plan.schedule import Places
from sbs.plan.table import duration, summary
from tests.test_estimates import job, settings_of_digits
from tests.working_copy import copy, edit, environment, snakemake, with_stub

__all__ = ["copy"]

TABLE5 = "results/runs/table5.csv"


def test_summary_names_cores_and_gpus() -> None:
    jobs = [job(1, "search", gpu=1), job(2, "search", gpu=1)]
    assert summary(jobs, {1: 7200.0, 2: 3600.0}, Places(4, 1)) == (
        "2 jobs, 3.0 core hours and 3.0 GPU hours: about 3.0 h on 2 cores and 1 GPU"
    )
    assert summary([job(1, "fetch")], {1: 30.0}, Places(4, 1)) == (
        "1 job, 0.5 core minutes: about 30 s on 1 core"
    )
    words = [duration(seconds) for seconds in (8.4, 89, 90, 3600, 5400, 2e5)]
    assert words == ["8 s", "89 s", "1.5 min", "60 min", "1.5 h", "2.3 days"]


def test_progress_learns_from_finished_jobs(tmp_path: Path) -> None:
    now = [0.0]
    jobs = [job(number, "collect") for number in range(4)]
    estimates = Estimates(tmp_path, settings_of_digits)
    progress = Progress(jobs, estimates, Places(1, 1), clock=lambda: now[0])
    assert progress.plan == "4 jobs, 0.67 core minutes: about 40 s on 1 core."
    progress.started(0)
    now[0] = OTHER / 2
    assert progress.rest == "12% of the work, about 35 s left"
    now[0] = 2 * OTHER  # twice as long as estimated
    progress.finished(0)
    assert progress.rest == "25% of the work, about 60 s left"
    progress.started(1)
    progress.failed(1)
    assert progress.rest == "25% of the work, about 60 s left"
    for number in (1, 2, 3):
        progress.started(number)
        now[0] += 2 * OTHER
        progress.finished(number)
    assert (progress.share, progress.seconds_left, progress.rest) == (1, 0, "")


def handler() -> LogHandler:
    given = {"printshellcmds": False, "nocolor": True, "quiet": None, "debug_dag": False}
    given |= {"verbose": False, "show_failed_logs": True, "stdout": False, "dryrun": False}
    return LogHandler(SimpleNamespace(**given), None)


def test_an_error_of_the_plugin_is_one_warning(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = handler()
    plugin._progress = SimpleNamespace()  # has none of the methods
    events = [{"event": LogEvent.JOB_FINISHED, "job_id": 1, "msg": "Finished jobid: 1"}] * 2
    for event in (*events, {"msg": "an error", "levelno": logging.ERROR}):
        plugin.emit(logging.makeLogRecord(event))
    shown = capsys.readouterr().err
    assert shown.count("Finished jobid: 1") == 2
    assert shown.count("no plan and no progress of this run: AttributeError") == 1
    assert "an error" in shown


def test_a_workflow_that_is_not_understood_runs_all_the_same(
    capsys: pytest.CaptureFixture[str], default_scale: Scale
) -> None:
    plugin = handler()
    plugin.introduce(SimpleNamespace(dag=None), default_scale, settings_of_digits)
    plugin.begin()
    assert "no plan and no progress of this run: AttributeError" in capsys.readouterr().err


def test_the_plan_has_the_jobs_that_snakemake_would_run(copy: Path) -> None:
    full = snakemake(copy, "--dry-run", TABLE5).stdout
    stats = dict(re.findall(r"^(\w+) +(\d+)$", full, re.MULTILINE))
    assert stats["search"] == "2"
    plan = snakemake(copy, "--dry-run", "--quiet", "rules", "--", TABLE5).stdout
    assert full.count(plan.strip()) == 1
    assert f"{stats['total']} jobs, " in plan
    assert "on 2 cores." in plan
    assert "No run has finished here yet." in plan
    rows = re.findall(r"^ +(\w+) +resnet20 +(\w*) +(\d+) +[\d.]+ (?:s|min) *$", plan, re.MULTILINE)
    counted = {stage: int(count) for stage, _, count in rows}
    assert counted == {stage: int(stats[stage]) for stage in EFFORTS}


def test_missing_and_stale_runs_are_told_apart(copy: Path) -> None:
    assert snakemake(copy, TABLE5, PATH=with_stub(copy)).returncode == 0
    command = "--dry-run", "--quiet", "rules", "--", TABLE5
    assert snakemake(copy, *command).stdout.startswith("Nothing to be done")
    edit(copy, "finetune", learning_rate=0.01)
    edit(copy, seeds=[0, 1])
    plan = snakemake(copy, *command).stdout
    assert re.search(r"finetune +resnet20 +sbs_q +2 +2 ", plan)
    assert re.search(r"search +resnet20 +sbs_q +2 +\d+ s", plan)
    assert "pretrain" not in plan


def test_a_scale_can_give_a_table_fewer_seeds_and_rows(copy: Path) -> None:
    """Tables 1 and 5 share a row of SBS-Q; each takes its own seeds of it."""
    edit(
        copy,
        seeds=[3, 4, 5],
        tables={"table5": {"seeds": 1, "rows": ["resnet20/sbs_q/multi-path"]}},
    )
    shown = "--dry-run", "--quiet", "rules", "--"
    rows = r"finetune +resnet20 +sbs_q +(\d+) "
    tables = [f"results/table{number}.csv" for number in (5, 1)]
    plans = [snakemake(copy, *shown, *goals).stdout for goals in (tables[:1], tables[1:], tables)]
    assert [int(re.findall(rows, plan)[0]) for plan in plans] == [1, 3, 4]


def test_a_run_says_how_much_work_is_done(copy: Path) -> None:
    done = snakemake(copy, TABLE5, PATH=with_stub(copy))
    assert done.returncode == 0, done.stderr
    assert re.search(r"^7 jobs, .* core minutes: about .* on 2 cores\.$", done.stderr, re.MULTILINE)
    lines = re.findall(r"^\d of 7 steps \(\d+%\) done.*$", done.stderr, re.MULTILINE)
    assert len(lines) == 7
    assert all(re.search(r": \d+% of the work, about .* left$", line) for line in lines[:-1])
    assert lines[-1] == "7 of 7 steps (100%) done"
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr


def test_a_failed_job_is_shown_and_logged_as_ever(copy: Path) -> None:
    path = with_stub(copy)
    stub = copy / "stub" / "sbs"
    failing = "if words[0] == 'search': sys.exit('no such luck')\n"
    stub.write_text(stub.read_text().replace("for option", f"{failing}for option", 1))
    done = snakemake(copy, "--retries", "0", TABLE5, PATH=path)
    assert done.returncode == 1
    (log,) = (copy / ".snakemake" / "log").glob("*.log")
    for text in (done.stderr, log.read_text()):
        assert "Error in rule search:" in text
        assert "no such luck" in text
        assert "core minutes: about" in text


def test_a_terminal_gets_a_bar_that_leaves_nothing_behind(copy: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "snakemake", "--cores", "2", TABLE5]
    env = environment(PATH=with_stub(copy), TERM="xterm", COLUMNS="100")
    run = subprocess.Popen(command, cwd=copy, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = _all_of(ours)
    assert run.wait() == 0
    assert "of 7 jobs done: " in shown
    assert "Finished jobid: 0" in shown
    hidden, visible = shown.rfind("\x1b[?25l"), shown.rfind("\x1b[?25h")
    assert -1 < hidden < visible
    assert "jobs done" not in shown[visible:]


def _all_of(terminal: int) -> str:
    parts = []
    while True:
        try:
            parts.append(os.read(terminal, 65536))
        except OSError:  # Linux's end of a terminal
            break
        if not parts[-1]:
            break
    os.close(terminal)
    return b"".join(parts).decode()
