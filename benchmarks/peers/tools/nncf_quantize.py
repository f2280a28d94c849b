"""NNCF: can it still choose bits?"""

from __future__ import annotations

import inspect

from benchmarks.peers.tool import CannotError, Found, Job, Tool

BITS_OR_COSTS = {"bits", "bops", "precision", "resource", "budget", "ratio", "cost"}


def compress(job: Job) -> Found:
    """Look whether the interface takes bits or a cost.

    Raises:
        CannotError: always, unless it does.
    """
    import nncf

    arguments = list(inspect.signature(nncf.quantize).parameters)
    modes = [mode.value for mode in nncf.QuantizationMode]
    if BITS_OR_COSTS & {word for name in arguments for word in name.split("_")}:
        raise RuntimeError(f"nncf.quantize takes {arguments}: this module has to be written anew")
    old = "has" if hasattr(nncf.torch, "create_compressed_model") else "has no"
    raise CannotError(
        f"`nncf.quantize` takes no bits and no cost (its arguments: "
        f"{', '.join(f'`{name}`' for name in arguments)}); its modes besides 8-bit integers: "
        f"{', '.join(modes)}; the package {old} `create_compressed_model`, which searched mixed "
        "precision in NNCF 2."
    )


TOOL = Tool(
    name="nncf",
    label="NNCF",
    how="8-bit integers",
    configured="`nncf.quantize` ([README](https://github.com/openvinotoolkit/nncf)).",
    better="8-bit networks for OpenVINO from some hundred images, with a bound on the loss of "
    "accuracy; pruning and compression of weights.",
    packages=("nncf",),
    compress=compress,
)
