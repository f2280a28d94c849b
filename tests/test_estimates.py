"""Estimated times of jobs: reference costs, what runs here teach, and the schedule."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import pytest

from sbs.config.scale import load_scale, stage_settings
from sbs.plan.costs import CPU, OTHER, OVERHEAD, Run, reference_seconds, speed_of
from sbs.plan.estimates import Estimates
from sbs.plan.jobs import PlannedJob
from sbs.plan.schedule import Places, wall_seconds
from tests.conftest import ROOT

MEASURED = ROOT / "results" / "measured"
RECORD = {"pretrain": "metrics.json", "search": "search.json", "finetune": "metrics.json"}


def job(number: int, rule: str, run: str = "", **more: Any) -> PlannedJob:
    """A job of a run ``network/method/variant/seed-N``; unnamed facts are the usual ones."""
    names = dict(zip(("network", "method", "variant"), run.split("/"), strict=False))
    usual = {"threads": 1, "gpu": 0, "input": (), "output": (f"file-{number}",), "log": ()}
    return PlannedJob(number, rule, names if run else {}, **{**usual, "benchmark": None, **more})


def measured(scale: str) -> list[tuple[Run, float, str]]:
    """The committed runs of a scale, the seconds that each trained, and its kind."""
    found = []
    for stage in RECORD:
        for path in sorted((MEASURED / scale / stage).glob(f"**/{RECORD[stage]}")):
            content = json.loads(path.read_text())
            finetune = content["settings"].get("finetune", {})
            # Records from before this setting existed come from equally long fine-tuning.
            finetune.setdefault("epochs_without_search", finetune.get("epochs"))
            names = (content[name] for name in ("network", "method", "variant"))
            run = Run(stage, *names, content["settings"])
            kind = f"{stage} {content['method']}" if stage == "search" else stage
            found.append((run, content["wall_seconds"], kind))
    return found


@pytest.mark.parametrize("scale", ["digits", "cifar100-short"])
def test_reference_costs_agree_with_the_committed_runs(scale: str) -> None:
    ratios = defaultdict(list)
    for run, seconds, kind in measured(scale):
        ratios[kind].append(reference_seconds(run, CPU) / (OVERHEAD + seconds))
    # Medians: a machine that sleeps during a run makes it as long as all others together.
    everything = [ratio for kind in ratios.values() for ratio in kind]
    assert median(everything) == pytest.approx(1, rel=0.5)
    assert len(ratios) >= 10
    assert {kind: r for kind, r in ratios.items() if not 0.5 < median(r) < 2} == {}


@pytest.mark.parametrize("scale", ["digits", "cifar100-short"])
def test_reference_costs_fit_networks_of_all_kinds(scale: str) -> None:
    """By its multiplications alone, MobileNetV3 takes far longer than estimated."""
    ratios = defaultdict(list)
    for run, seconds, _ in measured(scale):
        if run.stage != "search":
            ratio = reference_seconds(run, CPU) / (OVERHEAD + seconds)
            ratios[f"{run.network} {run.stage}"].append(ratio)
    assert {kind: median(r) for kind, r in ratios.items() if not 0.5 < median(r) < 2} == {}


def settings_of_digits(stage: str, wildcards: Mapping[str, str]) -> dict[str, Any]:
    """The settings of the committed runs of the default scale."""
    run = f"{wildcards['network']}/{wildcards['method']}/default/seed-0"
    record = json.loads((MEASURED / "digits" / stage / run / RECORD[stage]).read_text())
    return dict(record["settings"])


def finished(results: Path, run: str, slowness: float) -> None:
    """A committed search that has run here, with a time of ``slowness`` times the reference."""
    source = MEASURED / "digits" / "search" / run / "search.json"
    record = results / "search" / run / "search.json"
    record.parent.mkdir(parents=True)
    record.write_text(source.read_text())
    names = run.split("/")[:3]
    reference = reference_seconds(
        Run("search", *names, json.loads(source.read_text())["settings"]), CPU
    )
    benchmark = results / "benchmarks" / "search" / f"{run}.tsv"
    benchmark.parent.mkdir(parents=True, exist_ok=True)
    benchmark.write_text(f"s\th:m:s\n{slowness * reference}\t0:00:10\n")


def test_estimates_follow_the_runs_most_like_a_job(tmp_path: Path) -> None:
    finished(tmp_path, "resnet56/sbs/default/seed-0", 3)
    finished(tmp_path, "resnet56/sbs_q/default/seed-0", 5)
    known, none = (Estimates(folder, settings_of_digits) for folder in (tmp_path, tmp_path / "no"))
    factors = {}
    for number, run in enumerate(
        ["resnet56/sbs/default", "resnet56/sbs/memory", "resnet20/sbs_q/default", "resnet20/dq/x"]
    ):
        one = job(number, "search", run)
        factors[run] = known.seconds(one) / none.seconds(one)
    assert factors.pop("resnet56/sbs/default") == pytest.approx(3)
    assert factors.pop("resnet56/sbs/memory") == pytest.approx(3)  # the same method
    assert factors.pop("resnet20/sbs_q/default") == pytest.approx(5)  # on another network
    assert 3 < factors.pop("resnet20/dq/x") < 5  # all that ran here
    assert known.seconds(job(9, "collect")) == OTHER
    assert (known.finished, none.finished) == (2, 0)


def test_a_run_during_which_the_machine_slept_does_not_count(tmp_path: Path) -> None:
    for seed, slowness in enumerate([3, 400, 3]):
        finished(tmp_path, f"resnet56/sbs/default/seed-{seed}", slowness)
    known, none = (Estimates(folder, settings_of_digits) for folder in (tmp_path, tmp_path / "no"))
    one = job(0, "search", "resnet56/sbs/default")
    assert known.seconds(one) == pytest.approx(3 * none.seconds(one))


def test_a_run_that_does_not_train_says_nothing_of_other_jobs(tmp_path: Path) -> None:
    """A downloaded M0 took 20 times its reference, which is about 0, and all runs seemed to."""
    finished(tmp_path, "resnet20/fixed4/default/seed-0", 20)
    known, none = (Estimates(folder, settings_of_digits) for folder in (tmp_path, tmp_path / "no"))
    same, other = (job(0, "search", f"resnet20/{name}/default") for name in ("fixed4", "sbs"))
    assert known.seconds(same) == pytest.approx(20 * none.seconds(same))
    assert known.seconds(other) == none.seconds(other)


def test_estimates_allow_for_an_edit_of_the_schedule(tmp_path: Path) -> None:
    run = "resnet56/sbs/default/seed-0"
    finished(tmp_path, run, 6)

    def longer(stage: str, wildcards: Mapping[str, str]) -> dict[str, Any]:
        settings = settings_of_digits(stage, wildcards)
        epochs = 10 * settings["search"]["epochs"]
        return settings | {"search": settings["search"] | {"epochs": epochs}}

    one = job(0, "search", run)
    same, edited = (Estimates(tmp_path, of).seconds(one) for of in (settings_of_digits, longer))
    assert edited - 6 * OVERHEAD == pytest.approx(10 * (same - 6 * OVERHEAD))


def test_files_that_say_nothing_are_passed_over(tmp_path: Path) -> None:
    finished(tmp_path, "resnet56/sbs/default/seed-0", 2)
    for path in tmp_path.glob("**/*.*"):
        kept = path.read_text()
        for broken in ("", "s\n", "s\n-\n", "{}"):
            path.write_text(broken)
            assert Estimates(tmp_path, settings_of_digits).finished == 0
        path.write_text(kept)
    assert Estimates(tmp_path, settings_of_digits).finished == 1


def test_images_per_second_of_a_gpu_decide_its_times() -> None:
    scale = load_scale(ROOT / "config" / "imagenet.yaml")
    settings = stage_settings(scale, "finetune", {})
    epochs = settings["finetune"]["epochs"]

    def seconds(network: str, **needs: Any) -> float:
        speed = speed_of(scale.resources.model_copy(update=needs))
        return reference_seconds(Run("finetune", network, "sbs", "default", settings), speed)

    known = {"gpu": 1, "images_per_second": {"resnet50": 800.0}}
    assert seconds("resnet50", **known) == pytest.approx(OVERHEAD + epochs * 1281167 / 800)
    assert seconds("resnet18", **known) == seconds("resnet18", gpu=1)
    # Several GPUs divide the work, and threads decode images beside it.
    for needs in (known, {"gpu": 1}):
        four = seconds("resnet50", **(needs | {"gpu": 4}))
        assert 4 * (four - OVERHEAD) < 1.3 * (seconds("resnet50", **needs) - OVERHEAD)
    assert seconds("resnet50", gpu=1, threads=1) == seconds("resnet50", gpu=1, threads=12)
    # NVIDIA's figure, from which the others follow.
    one = (seconds("resnet50", gpu=1) - OVERHEAD) / epochs / 1281167
    assert 1 / one == pytest.approx(357, rel=0.1)


def test_wall_time_of_chains_cores_and_gpus() -> None:
    first, second = job(1, "search"), job(2, "finetune", input=("file-1",))
    others = [job(number, "search") for number in (3, 4, 5)]
    seconds = {1: 10.0, 2: 20.0, 3: 4.0, 4: 4.0, 5: 4.0}
    jobs = [first, second, *others]
    assert wall_seconds(jobs, seconds, Places(1, 1)) == 42
    assert wall_seconds(jobs, seconds, Places(2, 1)) == 30
    assert wall_seconds(others, seconds, Places(2, 1)) == 8
    assert wall_seconds([], seconds, Places(2, 1)) == 0
    on_gpu = [job(number, "search", gpu=1) for number in (3, 4, 5)]
    assert wall_seconds(on_gpu, seconds, Places(8, 1)) == 12
    assert wall_seconds(on_gpu, seconds, Places(8, 3)) == 4
    wide = [job(number, "search", threads=4) for number in (3, 4)]
    assert wall_seconds(wide, seconds, Places(4, 1)) == 8
    assert wall_seconds(wide, seconds, Places(2, 1)) == 8  # Snakemake gives them two cores each


def test_places_are_cores_here_and_jobs_on_a_cluster() -> None:
    def places(gpu: int | None, **given: Any) -> Places:
        limit = {"gpu": SimpleNamespace(value=gpu)}
        settings = SimpleNamespace(**given)
        return Places.of(SimpleNamespace(resource_settings=settings, global_resources=limit), 2)

    assert places(1, cores=8, nodes=None) == Places(8, 1)
    assert places(1, cores=None, nodes=None) == Places(1, 1)
    assert places(20, cores=1, nodes=20) == Places(40, 20)
    assert places(None, cores=1, nodes=20).gpus == 40  # without a limit, Snakemake counts none
