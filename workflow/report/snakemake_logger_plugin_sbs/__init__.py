"""What Snakemake finds as ``--logger sbs``: a logger plugin is a package of this name."""

from sbs.plan import LogHandler

__all__ = ["LogHandler"]
