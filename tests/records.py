"""Run records as a stage writes them, with the facts that a test names."""

from __future__ import annotations

from typing import Any

from sbs.provenance.records import RunRecord


def record(**changes: Any) -> RunRecord:
    facts: dict[str, Any] = {
        "stage": "finetune",
        "scale": "digits",
        "network": "resnet20",
        "method": "sbs",
        "variant": "default",
        "seed": 0,
        "settings": {
            "runtime": {"precision": "fp32"},
            "search": {"epochs": 6, "resource": "bops", "bit_sharing": True},
            "dq": {"epochs": 16},
            "haq": {"episodes": 60, "images": 2000},
            "multipath": {"weight_share": 0.8},
            "finetune": {"start": "searched"},
        },
        "settings_sha256": "a",
        "inputs": {},
        "dataset": "digits",
        "dataset_sha256": "b",
        "git_revision": "c",
        "versions": {},
        "device": "a CPU",
        "threads": 1,
        "bops": 250.0e6,
        "full_precision_bops": 1000.0e6,
        "memory_bytes": 2000.0,
        "full_precision_memory_bytes": 8000.0,
        "top1": 90.0,
        "top5": 99.0,
        "wall_seconds": 36.0,
        "device_hours": 0.01,
        "peak_memory_bytes": 5,
        "interruptions": 0,
        "history": [{"epoch": 1, "loss": 0.5}],
    }
    return RunRecord(**(facts | changes))


def without_sharing(**changes: Any) -> RunRecord:
    """A record of SBS-Q with a path of its own for every bitwidth."""
    one = record(method="sbs_q", variant="multi-path", **changes)
    search = one.settings["search"] | {"bit_sharing": False}
    return one.model_copy(update={"settings": one.settings | {"search": search}})


def runs_of_two_seeds() -> list[RunRecord]:
    records = [record(stage="pretrain", method="fp", bops=1000.0e6, top1=95.0)]
    for seed, top1 in ((0, 90.0), (1, 94.0)):
        records.append(record(seed=seed, top1=top1))
        records.append(record(stage="search", seed=seed, top1=None, top5=None))
        records.append(record(method="fixed4", seed=seed))
        records.append(record(method="fixed4", stage="search", seed=seed, history=[]))
    return records
