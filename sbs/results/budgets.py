"""How much of its authors' search a method was given: the training that its search does.

SBS searches for 30 epochs (section 4.2 of the paper). The quantization paper of DNAS gives no
number that public code confirms; public FBNet-family code, which does the same search, takes 90
epochs. DQ trains once, for 160 epochs. HAQ fine-tunes on 20,000 images in each of 600 episodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AUTHORS_EPOCHS = {"sbs": 30, "sbs_q": 30, "sbs_p": 30, "dnas": 90, "dq": 160}
HAQ_IMAGES = 600 * 20_000


def search_share(method: str, settings: Mapping[str, Any]) -> float | None:
    """Share of its authors' search budget that a search got; None for a method without one.

    Args:
        method: method name.
        settings: of the search stage, as in a run record.

    Returns:
        epochs over the authors' epochs; for HAQ, images that rewards were measured on over theirs.
    """
    if method == "haq":
        return float(settings["haq"]["episodes"] * settings["haq"]["images"] / HAQ_IMAGES)
    if method not in AUTHORS_EPOCHS:
        return None
    section = settings["dq"] if method == "dq" else settings["search"]
    return float(section["epochs"] / AUTHORS_EPOCHS[method])
