"""The unit tests, and one epoch of each stage of each method, on a device."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sbs.config.scale import Scale, canonical_json, load_scale, parse_overrides, stage_settings

ROOT = Path(__file__).resolve().parent.parent
NETWORK = "resnet20"
Row = dict[str, Any]


def run_tests(device: torch.device, files: Sequence[str]) -> Iterator[Row]:
    """The tests marked ``device``."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "device", *files]
    yield {"tests": " ".join(files)} | _run(command, {"SBS_TEST_DEVICE": device.type})


EPOCHS = {"epochs", "epochs_without_search", "base_epochs"}


def run_stages(device: torch.device, methods: Sequence[str]) -> Iterator[Row]:
    """An epoch of every stage of the sheet's rows for one network, by the command line.

    Args:
        device: where.
        methods: only these; none are all.
    """
    scale = load_scale(ROOT / "config" / "config.yaml")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        data = out / "digits.safetensors"
        yield {"stage": "fetch"} | _sbs("fetch", "digits", "--output", data)
        settings = _settings(scale, "pretrain", device, {}, "")
        words = ["--data", data, *_outputs(out), "--settings", settings]
        yield {"stage": "pretrain"} | _sbs("pretrain", "--network", NETWORK, *words)
        for method, variant, options in _experiments():
            if not methods or method in methods:
                yield from _experiment(scale, device, method, variant, options, data, out)


def _experiment(
    scale: Scale,
    device: torch.device,
    method: str,
    variant: str,
    options: Mapping[str, Any],
    data: Path,
    pretrained: Path,
) -> Iterator[Row]:
    """Search, then fine-tuning."""
    folder = pretrained / f"{method}-{variant}"
    scratch = options.get("search.start") == "scratch"
    policy = ["--policy", folder / "policy.json"]
    inputs: dict[str, list[Any]] = {
        "search": [] if scratch else ["--pretrained", pretrained / "weights.safetensors"],
        "finetune": ["--start", folder / "search" / "weights.safetensors"],
    }
    for stage, own in inputs.items():
        settings = _settings(scale, stage, device, options, method)
        words = ["--network", NETWORK, "--method", method, "--data", data, *policy, *own]
        words += [*_outputs(folder / stage), "--settings", settings]
        yield {"stage": stage, "method": method, "variant": variant} | _sbs(stage, *words)


def _experiments() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, variant and options of the sheet's rows for the network."""
    with (ROOT / "config" / "experiments.tsv").open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["network"] == NETWORK:
                yield row["method"], row["variant"], parse_overrides(row["options"])


def _settings(
    scale: Scale, stage: str, device: torch.device, options: Mapping[str, Any], method: str
) -> str:
    """Settings of a stage with one epoch of everything that has epochs."""
    sections = stage_settings(scale, stage, options, method)
    for section in sections.values():
        section |= dict.fromkeys(section.keys() & EPOCHS, 1)
    if "two_stage" in sections:  # two searches need two epochs
        sections["search"]["epochs"], sections["two_stage"]["finetune_epochs"] = 2, 0
    sections["runtime"]["device"] = device.type
    return canonical_json(sections)


def _outputs(folder: Path) -> list[Any]:
    return ["--weights", folder / "weights.safetensors", "--record", folder / "record.json"]


def _sbs(*words: object) -> Row:
    return _run([sys.executable, "-m", "sbs.cli", *map(str, words)], {})


def _run(command: Sequence[str], variables: Mapping[str, str]) -> Row:
    """Outcome, seconds and the last line that a command prints; all of its end if it fails."""
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    lines = (done.stdout + done.stderr).strip().splitlines() or [""]
    return {
        "outcome": "failed" if done.returncode else "passed",
        "seconds": round(time.perf_counter() - started, 1),
        "message": "\n".join(lines[-30:]) if done.returncode else lines[-1],
    }
