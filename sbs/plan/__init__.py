"""The plan and the progress of a workflow, as a logger plugin of Snakemake.

``snakemake --dry-run`` ends with the plan: which jobs Snakemake would run, and how long they take.
In a real run, the lines that count the finished jobs also say how much of the work that is, and how
long the rest takes; on a terminal, a bar stays below the output. Everything else is printed as
Snakemake prints it. An error in here ends the progress, and never a run.

Snakemake imports this module at every start. Modules that estimate are imported on use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sbs.plan.handler import LogHandler

if TYPE_CHECKING:
    from sbs.config.scale import Scale
    from sbs.plan.estimates import SettingsOf

__all__ = ["LogHandler", "begin", "introduce"]


def introduce(workflow: Any, scale: Scale, settings_of: SettingsOf) -> None:
    """Tell the plugin what a workflow is about. Without the plugin, do nothing.

    Args:
        workflow: Snakemake's workflow.
        scale: the validated scale.
        settings_of: settings of a training job, from its stage and wildcards.
    """
    for handler in _plugins(workflow):
        handler.introduce(workflow, scale, settings_of)


def begin(workflow: Any) -> None:
    """Tell the plugin that the jobs of a workflow start now. Without the plugin, do nothing."""
    for handler in _plugins(workflow):
        handler.begin()


def _plugins(workflow: Any) -> list[LogHandler]:
    handlers = workflow.logger_manager.get_log_handlers()
    return [one for one in handlers if isinstance(one, LogHandler)]
