"""The page and its table, from the records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.peers import steps
from benchmarks.peers.records import Record, load_all
from benchmarks.peers.start import SCALE
from benchmarks.peers.tool import Tool
from benchmarks.peers.training import FOLDED_RATE
from sbs.config.scale import load_scale
from sbs.errors import SBSError

COLUMNS = {
    "label": "tool",
    "how": "bits by",
    "bops_m": "BOPs (M)",
    "over_asked": "over asked",
    "memory_kb": "memory (KB)",
    "search_hours": "search (h)",
    "training_hours": "training (h)",
    "steps": "steps",
    "top1": "top-1 (%)",
    "weights_kb": "weights (KB)",
    "exports": "export (KB)",
}

OUTCOMES = {"cannot": "Cannot be asked for it", "failed": "Failed"}

HEAD = """# Peers: what a user could take instead

One network (ResNet-20 with the public weights), one dataset (CIFAR-100), one recipe (that of
`config/cifar100-short.yaml`: SGD at {rate}, cosine, batch {batch}, all training images), one thread
of {device}, PyTorch {torch}, single precision. `make peers` runs it.

The budget of each tool, in epochs: {epochs} of search and {epochs} of training what was found; a
tool that does not train in its search gets all {both} for training. One seed, so differences of
less than a point or so say nothing. The test images were used once for each network. Tools that
fold batch norms train with Adam at {folded}. Their own examples begin anew and have 0.001, which
destroys a trained network: a first run of both showed it, and the training loss chose the rate.

- **BOPs** and **memory** are counted by this project from the bits that each tool chose, layer by
  layer; the first convolution's weights and the last layer's have 8 bits everywhere.
- **over asked** is the cost reached over the cost asked for.
- Hours are of one core: processor time, so that other work on the machine hardly counts.
- **weights** is what the chosen bits take, **export** what the tool's own files take.
"""

TELLS = """## What this can tell, and what not

It tells whether a tool reaches a cost that it is asked for, what a step costs, and what its files
weigh. It does not rank accuracies: there is one seed, one small network, and a budget much
shorter than the authors of these tools had in mind. Each tool is set up as its documentation
says, and not tuned further; its authors would get more out of it. All times are of a CPU; most of
these tools are made for GPUs.
"""


def write(folder: Path, tools: dict[str, Tool]) -> None:
    """Write ``peers.md`` and ``peers.csv`` from the records in a folder.

    Raises:
        SBSError: their budgets differ.
    """
    records = list(load_all(folder, tools))
    budgets = sorted({record.epochs for record in records})
    if len(budgets) > 1:
        raise SBSError(
            f"{folder}: records with {' and '.join(map(str, budgets))} epochs, which do not "
            "compare; delete those of one budget"
        )
    times = _times(folder / steps.FILE)
    table(records, times, tools).to_csv(folder / "peers.csv", index=False, float_format="%.6g")
    (folder / "peers.md").write_text(rendering(records, times, tools))


def table(
    records: Iterable[Record], times: Mapping[str, Any], tools: Mapping[str, Tool]
) -> pd.DataFrame:
    """A row for each tool and target, then one for each timed step.

    ``row`` names a row alone; the columns are in the units of their names.
    """
    rows = [_row(record, tools[record.tool]) for record in records]
    rows += [
        {"row": f"step: {name}", "label": name, "step_seconds": seconds, "step_ratio": ratio}
        for name, (seconds, ratio) in steps.ratios(times["seconds"]).items()
    ]
    return pd.DataFrame(rows)


def rendering(
    records: Sequence[Record], times: Mapping[str, Any], tools: Mapping[str, Tool]
) -> str:
    """The page in Markdown."""
    parts = [_head(records)] if records else []
    for level in dict.fromkeys(record.level for record in records):
        parts.append(_level([record for record in records if record.level == level], tools))
    if times["seconds"]:
        parts.append(_step_times(times))
    parts += [TELLS, _tools(records, tools)]
    return "\n".join(parts)


def _times(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {"seconds": {}, "missing": {}}
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _row(record: Record, tool: Tool) -> dict[str, Any]:
    done = record.outcome == "network"
    return {
        "row": f"{record.tool} {record.level}-bit",
        "tool": record.tool,
        "level": record.level,
        "label": tool.label,
        "how": tool.how,
        "outcome": record.outcome,
        "asked_m": record.asked / 1e6,
        "bops_m": record.bops / 1e6 if record.bops else None,
        "over_asked": record.bops / record.asked if record.bops else None,
        "own_bops_m": record.own_bops / 1e6 if record.own_bops else None,
        "memory_kb": record.memory / 1e3 if record.memory else None,
        "search_hours": record.search_hours,
        "training_hours": record.training_hours,
        "steps": record.steps,
        "top1": record.top1,
        "weights_kb": record.weights / 1e3 if record.weights else None,
        "exports": _exports(record) if done else None,
        **{f"{name}_kb": size / 1e3 for name, size in record.exports.items()},
    }


def _exports(record: Record) -> str:
    sizes = [f"{name} {size / 1e3:.0f}" for name, size in record.exports.items()]
    return ", ".join([*sizes, *(f"{name} failed" for name in record.unexported)])


def _head(records: Sequence[Record]) -> str:
    first, recipe = records[0], load_scale(SCALE).finetune
    return HEAD.format(
        rate=recipe.learning_rate,
        batch=recipe.batch_size,
        device=first.device,
        torch=first.versions["torch"],
        epochs=first.epochs,
        both=2 * first.epochs,
        folded=FOLDED_RATE,
    )


def _level(records: Sequence[Record], tools: Mapping[str, Tool]) -> str:
    first = records[0]
    done = [_row(one, tools[one.tool]) for one in records if one.outcome == "network"]
    lines = [
        f"## Asked for: the cost of {first.level} bits everywhere, {first.asked / 1e6:.1f} M BOPs",
        "",
    ]
    if done:
        lines += [_markdown(pd.DataFrame(done)), ""]
    for outcome, words in OUTCOMES.items():
        names = [tools[one.tool].label for one in records if one.outcome == outcome]
        if names:
            lines += [f"{words}: {', '.join(names)}; the reasons are below.", ""]
    present = {one.tool for one in records}
    if absent := [tool.label for name, tool in tools.items() if name not in present]:
        lines += [f"Not run yet: {', '.join(absent)}.", ""]
    return "\n".join(lines)


def _markdown(rows: pd.DataFrame) -> str:
    shown = rows[list(COLUMNS)].rename(columns=COLUMNS)
    formats = ("", "", ".1f", ".2f", ".1f", ".2f", ".2f", ".0f", ".2f", ".1f", "")
    return shown.to_markdown(index=False, floatfmt=formats)


def _step_times(times: Mapping[str, Any]) -> str:
    rounds = len(times["seconds"][steps.PLAIN])
    rows = [
        {"step": name, "seconds": seconds, "over a plain step": ratio}
        for name, (seconds, ratio) in steps.ratios(times["seconds"]).items()
    ]
    lines = [
        "## Time of a training step",
        "",
        f"Batch 128, {times['threads']} thread, single precision, processor time; medians of "
        f"{rounds} rounds in which all steps take turns.",
        "",
        pd.DataFrame(rows).to_markdown(index=False, floatfmt=("", ".3f", ".2f")),
        "",
    ]
    return "\n".join([*lines, *(f"- {name}: {why}" for name, why in times["missing"].items())])


def _tools(records: Sequence[Record], tools: Mapping[str, Tool]) -> str:
    lines = ["## The tools", ""]
    for name in dict.fromkeys(record.tool for record in records):
        own = [record for record in records if record.tool == name]
        versions = ", ".join(
            f"{package} {number}"
            for package, number in own[0].versions.items()
            if package != "torch"
        )
        tool = tools[name]
        lines += [
            f"**{tool.label}** ({versions})",
            "",
            f"- Set up: {tool.configured}",
            f"- Better: {tool.better}",
            *_remarks(own),
            "",
        ]
    return "\n".join(lines)


def _remarks(records: Sequence[Record]) -> list[str]:
    reasons = dict.fromkeys(record.reason for record in records if record.outcome == "cannot")
    lines = [f"- Cannot: {reason}" for reason in reasons]
    for record in records:
        if record.outcome == "failed":
            lines.append(f"- {record.level}-bit: failed with {record.reason}")
        if record.own_bops:
            own = f"its own count is {record.own_bops / 1e6:.1f} M BOPs"
            lines.append(f"- {record.level}-bit: {own}.")
        lines += [f"- {record.level}-bit: {note}." for note in record.notes]
        lines += [
            f"- {record.level}-bit: no {name} file: {why}"
            for name, why in record.unexported.items()
        ]
    return lines
