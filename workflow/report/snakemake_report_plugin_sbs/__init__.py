"""What Snakemake finds as ``--reporter sbs``: a report plugin is a package of this name."""

from sbs.report import Reporter, ReportSettings

__all__ = ["ReportSettings", "Reporter"]
