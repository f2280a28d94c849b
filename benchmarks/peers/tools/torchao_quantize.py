"""torchao: does it take convolutions?"""

from __future__ import annotations

from torch import nn

from benchmarks.peers.tool import CannotError, Found, Job, Tool

CONFIGURATIONS = (
    "Int8WeightOnlyConfig",
    "Int8DynamicActivationInt8WeightConfig",
    "Int4WeightOnlyConfig",
    "IntxWeightOnlyConfig",
)


def compress(job: Job) -> Found:
    """Quantize with each configuration of integers, and say which layers changed.

    Raises:
        CannotError: always, unless a convolution changed.
    """
    import torchao.quantization as tao

    seen = []
    for name in CONFIGURATIONS:
        model = job.start.network().eval()
        tao.quantize_(model, getattr(tao, name)())
        changed, layers = _changed(model)
        seen.append(f"`{name}` changed {changed} of {layers} convolutions")
        if changed:
            raise RuntimeError(f"{seen[-1]}: this module has to be written anew")
    raise CannotError("; ".join(seen) + ".")


def _changed(model: nn.Module) -> tuple[int, int]:
    """How many convolutions have no plain weight any more, and how many there are."""
    weights = [one.weight for one in model.modules() if isinstance(one, nn.Conv2d)]
    return sum(type(weight) is not nn.Parameter for weight in weights), len(weights)


TOOL = Tool(
    name="torchao",
    label="torchao",
    how="fixed by the user",
    configured="`quantize_(model, config)` with each of its configurations of integer weights "
    "([README](https://github.com/pytorch/ao)).",
    better="linear layers of large models: real low-bit kernels and small files.",
    packages=("torchao",),
    compress=compress,
)
