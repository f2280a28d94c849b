"""Check before any run that the searches of a sheet can reach their targets."""

from __future__ import annotations

from collections.abc import Iterable

from sbs.config.experiments import Experiment
from sbs.config.scale import Scale, stage_settings
from sbs.config.settings import SearchSettings
from sbs.cost.facts import NetworkFacts, facts_of_all
from sbs.cost.reach import Reach
from sbs.errors import SBSError
from sbs.registry.datasets import dataset
from sbs.registry.methods import method


def check_targets(experiments: Iterable[Experiment], scale: Scale, source: str) -> None:
    """Check the target of every row against the cheapest network that its method can find.

    Args:
        experiments: rows that the scale runs.
        scale: its dataset determines the shapes, its sections the lowest bits.
        source: file of the scale, for messages.

    Raises:
        SBSError: a target is out of reach, and the message names the row; or a network cannot
            read the images of the dataset.
    """
    images = dataset(scale.data.dataset)
    rows = [row for row in experiments if method(row.method).lands]
    networks = dict.fromkeys(row.network for row in rows)
    try:
        facts = facts_of_all(networks, images.image, images.classes)
    except SBSError as error:
        raise SBSError(
            f"{source}: networks: {error}; remove the network, or choose another data.dataset"
        ) from error
    for row in rows:
        _check(row, scale, facts[row.network])


def _check(row: Experiment, scale: Scale, facts: NetworkFacts) -> None:
    chosen = method(row.method)
    sections = stage_settings(scale, "search", row.options, row.method)
    settings = SearchSettings.model_validate(sections["search"])
    if settings.target is None:
        return
    reach = Reach(
        row.network,
        facts.layers,
        facts.prunables,
        settings.resource,
        chosen.lowest_bits(sections),
        settings.group_size if chosen.filters else None,
    )
    try:
        reach.checked(settings.target)
    except SBSError as error:
        raise SBSError(
            f"config/experiments.tsv, row {row.network} {row.method} {row.variant}: {error}"
        ) from error
