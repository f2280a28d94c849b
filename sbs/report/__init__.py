"""The report: one HTML page with the tables and figures of a scale, as a plugin of Snakemake.

Snakemake provides the files that rules mark for the report, their rendered captions, and the times
of each job; :mod:`sbs.report.page` makes the page. Snakemake imports this module at every start, so
the modules for rendering are imported only when it renders.
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
    """Writes the report."""

    def render(self) -> None:
        """Write the page with everything that Snakemake collected, atomically.

        Raises:
            WorkflowError: there is no result yet.
        """
        if not self.jobs:
            raise WorkflowError("nothing to report yet; make a table first (`make table1`)")
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
