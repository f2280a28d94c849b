"""Plot and Markdown table of the benchmarks."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw ratios to the plain step, for time and memory, as bars on a logarithmic axis.

    Nothing is drawn before a part has measured them.
    """
    shown = {"step seconds": "time of a step", "peak megabytes": "peak memory"}
    part = table[table["section"].isin(shown) & (table["precision"] == "fp32")]
    if part.empty:
        return
    part = part.assign(section=part["section"].map(shown))
    sns.set_theme(style="whitegrid", context="paper")
    grid = sns.catplot(
        part, kind="bar", x="ratio", y="variant", hue="network", col="section", height=4.2
    )
    grid.set_titles("{col_name}, over plain full precision")
    grid.set_axis_labels("ratio", "")
    for axes in grid.axes.flat:
        axes.set_xscale("log")
        axes.set_xticks([1, 1.2, 2, 4, 8, 16], ["1", "1.2", "2", "4", "8", "16"])
        axes.axvline(1, color="black", linewidth=0.8)
        for bars in axes.containers:
            axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=7)
    grid.savefig(path)
    plt.close(grid.figure)


def rendering(table: pd.DataFrame) -> str:
    """Markdown: one table per section; rows are variants, columns are networks and precisions."""
    first = table.iloc[0]
    lines = [
        "# Benchmarks",
        "",
        f"{first['device']}, {first['threads']} threads, PyTorch {first['torch']}. Value and, in",
        "parentheses, its ratio to the best plain full-precision step of the same run. In other",
        "sections: to torchvision's rate, to one process on all cores, of a job to its training,",
        "of a first use to PyTorch's import.",
        "",
    ]
    for section, part in table.groupby("section", sort=False):
        cells = part.assign(
            cell=[f"{v:.4g} ({r:.2f})" for v, r in zip(part["value"], part["ratio"], strict=True)],
            column=(part["network"] + " " + part["precision"]).str.strip(),
        )
        shown = cells.pivot(index="variant", columns="column", values="cell")
        shown = shown.reindex(index=part["variant"].unique(), columns=cells["column"].unique())
        lines += [f"## {section}", "", shown.fillna("–").to_markdown(), ""]
    return "\n".join([*lines, *_sharing(table)])


# Table 5 of the paper: GPU hours and GPU memory of ResNet-20 and ResNet-56.
PUBLISHED = {
    ("step seconds", "resnet20"): 2.8 / 0.8,
    ("step seconds", "resnet56"): 8.7 / 1.3,
    ("megabytes above idle", "resnet20"): 4.4 / 1.5,
    ("megabytes above idle", "resnet56"): 10.9 / 3.0,
}


def _sharing(table: pd.DataFrame) -> list[str]:
    """Ratios of the search without bit sharing to the search with it, as in the paper's Table 5."""
    values = table.set_index(["section", "network", "precision", "variant"])["value"]
    rows = []
    for (section, network), published in PUBLISHED.items():
        cells = {"": section, "network": network, "published": f"{published:.1f}"}
        for kind, suffix in (("fast", ""), ("reference", ", reference")):
            keys = [
                (section, network, "fp32", f"{name}{suffix}") for name in ("multi-path", "SBS-Q")
            ]
            if all(key in values.index for key in keys):
                cells[kind] = f"{values[keys[0]] / values[keys[1]]:.2f}"
        rows.append(cells)
    shown = pd.DataFrame(rows).to_markdown(index=False)
    return ["## Without bit sharing over with it (multi-path over SBS-Q)", "", shown, ""]
