"""Render verdicts for readers, in Markdown and in the report."""

from __future__ import annotations

import pandas as pd

from sbs.results.published import PAPER_DATASETS
from sbs.results.quantities import QUANTITIES
from sbs.results.verdicts import score


def rendering(verdicts: pd.DataFrame, scale: str, dataset: str) -> str:
    """The score and all verdicts, as Markdown.

    Args:
        verdicts: table of :func:`sbs.results.verdicts.judge`.
        scale: name of the scale of the runs.
        dataset: dataset that the runs were measured on.
    """
    lines = [f"# Claims at the scale `{scale}` (dataset: {dataset})", ""]
    for kind, counts in score(verdicts).items():
        counted = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        lines.append(f"- {kind}: {counted}.")
    lines.append("")
    if dataset not in PAPER_DATASETS:
        lines += [
            f"Claims about accuracies and costs are judged by runs on **{dataset}**: the verdicts "
            "say little about the paper's datasets.",
            "",
        ]
    shown = pd.DataFrame([cells(row) for _, row in verdicts.iterrows()])
    return "\n".join([*lines, shown.to_markdown(index=False, disable_numparse=True)]) + "\n"


def cells(row: pd.Series) -> dict[str, str]:
    """The cells of a row of :func:`sbs.results.verdicts.judge`, by heading."""
    quantity = QUANTITIES.get(str(row.get("metric")))
    # Costs near a target differ only in the third decimal.
    digits = 2 if quantity is not None and quantity.points else 3
    interval = ""
    if _known(row.get("measured")):
        interval = _interval(row, digits)
    return {
        "claim": str(row["claim"]),
        "verdict": str(row["verdict"]),
        "published": _number(row.get("published"), digits),
        "measured": _number(row.get("measured"), digits),
        "95 % interval": interval,
        "smallest detectable": _number(row.get("detectable"), digits),
        "p (Holm)": _number(row.get("p_holm"), 3),
        "published values": _sides(row, "published"),
        "measured values": _measured(row),
        "where": str(row["where"]),
    }


def _interval(row: pd.Series, digits: int) -> str:
    if _known(row["low"]):
        return " to ".join(f"{row[end]:.{digits}f}" for end in ("low", "high"))
    return "equal in all seeds" if _known(row.get("p_holm")) else "one seed"


def _measured(row: pd.Series) -> str:
    if _known(row.get("cases")):
        return f"{row['failures']:.0f} of {row['cases']:.0f} cases fail"
    values = _sides(row, "measured")
    if _known(row.get("share_left")):
        shares = (f"{100 * row[f'share_{side}']:.1f}" for side in ("left", "right"))
        values += f", {' : '.join(shares)} % of the authors'"
    return values


def _sides(row: pd.Series, source: str) -> str:
    left, right = row.get(f"{source}_left"), row.get(f"{source}_right")
    if left is None or right is None or not (_known(left) and _known(right)):
        return ""
    # The difference of two equal means can be 1e-15.
    return " : ".join(f"{round(value, 9) + 0.0:.4g}" for value in (left, right)) + f" {row['unit']}"


def _number(value: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" if _known(value) else ""


def _known(value: float | None) -> bool:
    return value is not None and not pd.isna(value)
