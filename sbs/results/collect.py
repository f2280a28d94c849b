"""Collect run records into one tidy table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from sbs.errors import SBSError
from sbs.policy import Policy
from sbs.provenance.files import atomic_write
from sbs.provenance.records import RunRecord
from sbs.registry.methods import methods
from sbs.registry.networks import networks
from sbs.results.choices import COLUMNS, choices
from sbs.results.hardware import COLUMNS as HARDWARE
from sbs.results.hardware import hardware

KEY = ["network", "method", "variant", "seed"]
SEARCH_COLUMNS = {
    "wall_seconds": "search_seconds",
    "device_hours": "search_device_hours",
    "peak_memory_bytes": "search_peak_memory_bytes",
    "device": "search_device",
    "threads": "search_threads",
}
Key: TypeAlias = tuple[str, str, str, int]

LAST = 0.8
"""From this share of a search on, the cost of its policy should hardly change."""

SHARE = "search_share"
"""Training effort of a search divided by that of its authors' search."""


def write_runs(records: Sequence[Path], output: Path) -> None:
    """Write :func:`collect` of the given files, and of the policies beside them, as CSV."""
    loaded = [RunRecord.load(path) for path in records]
    beside = [path.with_name("policy.json") for path in records]
    policies = {
        _key(record): Policy.load(path)
        for record, path in zip(loaded, beside, strict=True)
        if record.stage == "search" and path.exists()
    }
    runs = collect(loaded, policies)
    with atomic_write(output) as temporary:
        runs.to_csv(temporary, index=False)


def collect(
    records: Sequence[RunRecord], policies: Mapping[Key, Policy] | None = None
) -> pd.DataFrame:
    """One row per run: a fine-tuned network with the cost of its search, or a pretrained one.

    Search columns are empty for fixed precision and for pretraining, which have no search.
    ``resource`` is the cost that the search was steered to; empty for methods without such a cost.
    ``bit_sharing`` is the setting of the search; empty without a search. ``trained_epochs`` counts
    the epochs of fine-tuning, and those of the search if fine-tuning goes on from its weights.
    ``train_loss`` is the mean loss of the last epoch of fine-tuning.
    ``landing_flips`` and the columns beside it say how a search with gates ended, and those of
    :func:`sbs.results.choices.choices` what it chose. Of a network with few enough bits, those of
    :func:`sbs.results.hardware.hardware` say what it costs on an accelerator.

    Args:
        records: records of all three stages, in any order.
        policies: the policies of searches, by network, method, variant and seed.

    Raises:
        SBSError: records of several scales, or two records of the same run.
    """
    scales = sorted({record.scale for record in records})
    if len(scales) > 1:
        raise SBSError(f"run records of several scales in one table: {', '.join(scales)}")
    stages: dict[str, dict[Key, RunRecord]] = {}
    for record in records:
        runs = stages.setdefault(record.stage, {})
        key = _key(record)
        if key in runs:
            raise SBSError(f"two {record.stage} records of the run {' '.join(map(str, key))}")
        runs[key] = record
    searches = stages.get("search", {})
    measured = {**stages.get("pretrain", {}), **stages.get("finetune", {})}
    rows = [_row(record, searches.get(key)) for key, record in measured.items()]
    for row, key in zip(rows, measured, strict=True):
        if policies and key in policies and row["network"] in networks():
            row |= choices(searches[key], policies[key]) | hardware(searches[key], policies[key])
    return pd.DataFrame(rows, columns=list(_columns())).sort_values(KEY, ignore_index=True)


def _key(record: RunRecord) -> Key:
    return record.network, record.method, record.variant, record.seed


def _row(record: RunRecord, search: RunRecord | None) -> dict[str, Any]:
    row = {name: getattr(record, name) for name in ("scale", "dataset", *KEY, "top1", "top5")}
    row |= {
        "bops": record.bops,
        "bop_ratio": record.full_precision_bops / record.bops,
        "memory_bytes": record.memory_bytes,
        "memory_ratio": record.full_precision_memory_bytes / record.memory_bytes,
        "train_seconds": record.wall_seconds,
        "train_device": record.device,
        "precision": record.settings["runtime"]["precision"],
        "git_revision": record.git_revision,
        "settings_sha256": record.settings_sha256,
        "dataset_sha256": record.dataset_sha256,
    }
    searched = search is not None and search.history
    for name, column in SEARCH_COLUMNS.items():
        row[column] = getattr(search, name) if searched else None
    row["target"] = search.target if search else None
    row["trained_epochs"] = _trained_epochs(record, search)
    row["train_loss"] = record.history[-1]["loss"] if record.history else None
    return row | (_of_settings(search) | _of_landing(search) if search else {})


def _trained_epochs(record: RunRecord, search: RunRecord | None) -> float:
    """Epochs that trained the weights of the network, in the search and after it."""
    known = methods().get(record.method)
    after = len(record.history)
    if search is None or known is None or known.trained_epochs is None:
        return after
    goes_on = known.own_start or record.settings["finetune"]["start"] == "searched"
    return after + (known.trained_epochs(search.settings) if goes_on else 0)


def _of_landing(search: RunRecord) -> dict[str, Any]:
    """How a search ended; empty without a target, and in records from before it was recorded."""
    if search.landing_flips is None or search.found_cost is None or search.target is None:
        return {}
    return {
        "found_over_target": search.found_cost / search.target,
        "landing_flips": search.landing_flips,
        "settled_variation": settled_variation(search),
    }


def settled_variation(search: RunRecord) -> float:
    """Coefficient of variation of the settled gates' cost, over the last fifth of a search."""
    steps = search.trajectory[-1]["iteration"]
    costs = [p["settled_cost"] for p in search.trajectory if p["iteration"] >= LAST * steps]
    return float(pd.Series(costs).std() / pd.Series(costs).mean())


def _of_settings(search: RunRecord) -> dict[str, Any]:
    """Columns from the settings of a search; some are missing if its method is not installed."""
    settings = search.settings["search"]
    # Records from before this setting existed come from searches with bit sharing.
    cells: dict[str, Any] = {"bit_sharing": settings.get("bit_sharing", True)}
    cells["stages"] = settings.get("stages", "one")
    known = methods().get(search.method)
    if known is not None and known.lands:
        cells["resource"] = settings["resource"]
    if known is not None and known.search_share is not None:
        cells[SHARE] = known.search_share(search.settings)
    return cells


def _columns() -> list[str]:
    first = ["scale", "dataset", *KEY, "top1", "top5", "bops", "bop_ratio"]
    first += ["memory_bytes", "memory_ratio", *SEARCH_COLUMNS.values(), "target", SHARE]
    last = ["resource", "bit_sharing", "stages", "trained_epochs", "train_loss"]
    last += ["found_over_target", "landing_flips", "settled_variation", *COLUMNS]
    last += [column for columns in HARDWARE.values() for column in columns]
    last += ["train_seconds", "train_device", "precision"]
    return [*first, *last, "git_revision", "settings_sha256", "dataset_sha256"]
