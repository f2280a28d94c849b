"""What a job of the default scale takes besides its training: start, data, set-up, evaluation."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import yaml

ROOT = Path(__file__).resolve().parent.parent
NETWORK = "resnet20"
RECORDS = {
    "pretrain": f"pretrain/{NETWORK}/seed-{{}}/metrics.json",
    "search": f"search/{NETWORK}/sbs/default/seed-{{}}/search.json",
    "finetune": f"finetune/{NETWORK}/sbs/default/seed-{{}}/metrics.json",
}


def measure(seeds: int) -> dict[str, dict[str, float]]:
    """Median seconds of the jobs of SBS on digits, by stage: ``job``, and its ``training``.

    One job runs at a time, as the workflow runs jobs, in forks of a warm process.

    Args:
        seeds: number of seeds.
    """
    (ROOT / "results").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "results") as folder:
        results = Path(folder)
        changes = results / "changes.yaml"
        changes.write_text(yaml.safe_dump({"results": folder, "seeds": list(range(seeds))}))
        goals = [str(results / RECORDS["finetune"].format(seed)) for seed in range(seeds)]
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile"]
        command += ["config/config.yaml", str(changes), "--", *goals]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the workflow failed:\n{done.stderr[-2000:]}")
        return {stage: _seconds(results, stage, seeds) for stage in RECORDS}


def _seconds(results: Path, stage: str, seeds: int) -> dict[str, float]:
    records = [RECORDS[stage].format(seed) for seed in range(seeds)]
    training = [json.loads((results / path).read_text())["wall_seconds"] for path in records]
    files = [(results / "benchmarks" / path).parent.with_suffix(".tsv") for path in records]
    jobs = [float(next(csv.DictReader(file.open(), delimiter="\t"))["s"]) for file in files]
    return {"job": median(jobs), "training": median(training)}
