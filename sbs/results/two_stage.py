"""Table 7: searches in one stage and in two, and how the target is best split between two."""

from __future__ import annotations

import pandas as pd

from sbs.results.rows import Row
from sbs.results.tables import table_of_runs

BEST = {"prune-first": "p-then-q", "quantize-first": "q-then-p"}
"""Setting ``search.stages`` -> variant of the best split, for tables and claims."""

SPLITS = {"little": "prunes 3 %", "middle": "prunes 10 %", "much": "prunes 20 %"}
ROWS = {
    ("sbs", "p-then-q"): Row("sbs_p_then_sbs_q", "SBS-P → SBS-Q, best split"),
    ("sbs", "q-then-p"): Row("sbs_q_then_sbs_p", "SBS-Q → SBS-P, best split"),
    ("sbs", "one-stage"): Row("sbs", "SBS"),
} | {
    ("sbs", f"{order}-{split}"): Row(f"sbs_{order}_{split}".replace("-", "_"), f"{name}, {says}")
    for order, name in (("p-then-q", "SBS-P → SBS-Q"), ("q-then-p", "SBS-Q → SBS-P"))
    for split, says in SPLITS.items()
}


def with_best_splits(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs, and once more those of the best split of each order of two stages.

    The best split is the variant with the smallest mean training loss at the end of fine-tuning;
    test images have no say in it.

    Args:
        runs: rows of :func:`sbs.results.collect.collect`.

    Returns:
        The repeated rows have the variant of :data:`BEST`; ``split`` holds their own variant.
        After a fine-tuning of no epochs there is no loss, and then no best split.
    """
    found = [runs.assign(split=None)]
    staged = runs[runs["stages"].isin(BEST)]
    for (_, _, stages), group in staged.groupby(["network", "method", "stages"]):
        losses = group.dropna(subset="train_loss").groupby("variant")["train_loss"].mean()
        if losses.empty:
            continue
        chosen = group[group["variant"] == losses.idxmin()]
        found.append(chosen.assign(split=chosen["variant"], variant=BEST[str(stages)]))
    return pd.concat(found, ignore_index=True)


def table7(runs: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Table 7: :func:`sbs.results.tables.table_of_runs` with a row for each split and the best.

    The published values stand beside the best split: the paper shows one.
    """
    both = with_best_splits(runs)
    table = table_of_runs("table7", both, published, ROWS)
    splits = both.dropna(subset="split").drop_duplicates(["network", "variant"])
    own = splits.set_index(["network", "variant"])["split"]
    keys = zip(table["network"], table["variants"], strict=True)
    table["variants"] = [own.get(key, key[1]) for key in keys]
    return table
