"""Figure of a search by reinforcement learning: does the agent learn to propose better policies?"""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from sbs.errors import SBSError
from sbs.provenance.records import RunRecord

WINDOW = 10
"""Episodes in a running mean."""


def reward_curve(record: RunRecord) -> Figure:
    """Reward of every episode, its running mean, and the best random policy of the warm-up.

    Args:
        record: record of a search by HAQ; its history has one entry per episode.

    Raises:
        SBSError: the history has no rewards.
    """
    history = pd.DataFrame(record.history)
    if "reward" not in history:
        raise SBSError(f"{record.method} {record.network}: the history has no rewards")
    warmup = record.settings["haq"]["warmup_episodes"]
    figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
    sns.scatterplot(history, x="epoch", y="reward", ax=axis, s=14, label="an episode")
    mean = history["reward"].rolling(WINDOW, min_periods=1).mean()
    sns.lineplot(x=history["epoch"], y=mean, ax=axis, label=f"mean of the last {WINDOW}")
    if warmup:
        axis.axvspan(0.5, warmup + 0.5, color="grey", alpha=0.15, label="warm-up: random policies")
        axis.axhline(
            history["reward"][:warmup].max(), color="grey", ls="--", label="best of the warm-up"
        )
    axis.set(xlabel="episode", ylabel="reward", xlim=(0.5, len(history) + 0.5))
    axis.legend(frameon=False)
    axis.set_title(f"{record.method} on {record.network}, {record.scale}, seed {record.seed}")
    return figure
