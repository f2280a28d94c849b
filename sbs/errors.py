"""The one exception that the command line shows without a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

EXTRAS = {
    "export": ("ml_dtypes", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "tabulate"),
    "workflow": (
        *("PIL", "gymnasium", "jinja2", "markdown_it", "nbconvert", "nbformat", "pyarrow"),
        *("pygments", "scipy", "seaborn", "sklearn", "snakemake", "snakemake_interface_common"),
        *("snakemake_interface_logger_plugins", "snakemake_interface_report_plugins"),
        "stable_baselines3",
    ),
}
"""Packages that a plain installation does not bring, by the extra that does."""


class SBSError(Exception):
    """A mistake in the input: a config, a policy, a checkpoint, a dataset.

    The message names the file, the key or layer at fault, and the remedy.
    """


@contextmanager
def naming_extras() -> Iterator[None]:
    """Name the extra to install if an import inside fails for want of one.

    Raises:
        SBSError: a package of :data:`EXTRAS` is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        for extra, packages in EXTRAS.items():
            if package in packages:
                raise SBSError(
                    f"this needs {package}, which is not installed: pip install 'sbs[{extra}]'"
                ) from error
        raise
