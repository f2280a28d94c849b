"""The modules that the result of a stage depends on."""

from __future__ import annotations

from sbs.registry.costs import cost_model
from sbs.registry.methods import method
from sbs.registry.networks import network

RECORDED_COSTS = ("bops", "memory")
"""Cost models whose values are in every run record."""


def stage_modules(
    stage: str,
    network_name: str,
    method_name: str | None = None,
    resource: str | None = None,
) -> list[str]:
    """Modules whose code, with all that they import, decides the result of a stage.

    The modules of networks, methods and cost models are imported by name, so the imports of the
    stage do not show them. An edit of one concerns its own runs only.

    Args:
        stage: ``pretrain``, ``search`` or ``finetune``.
        network_name: a registered network.
        method_name: the method of a search.
        resource: the cost model of a search.
    """
    modules = [f"sbs.stages.{stage}", network(network_name).module]
    costs = dict.fromkeys([*RECORDED_COSTS, *([resource] if resource else [])])
    modules += [cost_model(name).layer.__module__ for name in costs]
    if method_name is not None:
        modules.append(method(method_name).module)
    return modules
