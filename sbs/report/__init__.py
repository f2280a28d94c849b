"""The report: one HTML page of a scale's tables and figures, as a reporter of Snakemake's.

Snakemake gives the files that rules mark for the report, their rendered captions, and when each job
ran; the page is ours (:mod:`sbs.report.page`). This module is imported at every start of Snakemake,
so what it needs to render is imported when it does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_report_plugins.reporter import ReporterBase
from snakemake_interface_report_plugins.settings import ReportSettingsBase

__all__ = ["ReportSettings", "Reporter"]


@dataclass
class ReportSettings(ReportSettingsBase):
    """Options of ``snakemake --reporter sbs``.

    Attributes:
        path: HTML file to write.
    """

    path: Path | None = field(
        default=None, metadata={"help": "HTML file to write.", "required": True, "type": Path}
    )


class Reporter(ReporterBase):
    """Writes the page."""

    def render(self) -> None:
        """Write the page of everything that Snakemake gathered, whole or not at all.

        Raises:
            WorkflowError: nothing has been made yet.
        """
        if not self.jobs:
            raise WorkflowError("nothing to report yet: make a table first, such as `make table1`")
        from sbs.provenance.files import atomic_write_text
        from sbs.report.exhibits import exhibits
        from sbs.report.page import page
        from sbs.report.runs import provenance, statistics

        atomic_write_text(
            self.settings.path,
            page(
                introduction=self.workflow_description,
                exhibits=exhibits(self.results),
                statistics=statistics(self.jobs),
                provenance=provenance(self.jobs),
                rules=list(self.rules.values()),
                configuration=[(file.path, file.source) for file in self.configfiles],
            ),
        )
