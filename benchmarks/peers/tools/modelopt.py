"""NVIDIA's ModelOpt: simulated quantization by a configuration of wildcards."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.peers.start import Start
from benchmarks.peers.tool import Found, Job, TimedTask, Tool
from benchmarks.peers.training import train_fixed
from sbs.training.classification import Classification

INNER = ("layer*conv?", "layer*downsample.0")
"""Layers between the first and the last one."""


def compress(job: Job) -> Found:
    """Train with fixed bits, for the whole budget."""
    with job.meter.part("search", "calibration"):
        model = _network(job.start, job.level)
    return train_fixed(job, "modelopt", model, _bits, _export)


def _network(start: Start, bits: int) -> nn.Module:
    import modelopt.torch.quantization as mtq

    images = start.calibration()
    model = start.network().eval()
    quantized: nn.Module = mtq.quantize(
        model, _configuration(mtq.INT8_DEFAULT_CFG, bits), lambda net: [net(x) for x in images]
    )
    return quantized.to(memory_format=torch.channels_last)


def _configuration(default: dict[str, Any], bits: int) -> dict[str, Any]:
    """The default configuration of 8 bits, with fewer in the inner layers."""
    changed = copy.deepcopy(default)
    for layer in INNER:
        changed["quant_cfg"] += [
            {"quantizer_name": f"{layer}.weight_quantizer", "cfg": {"num_bits": bits, "axis": 0}},
            {
                "quantizer_name": f"{layer}.input_quantizer",
                "cfg": {"num_bits": bits, "axis": None, "unsigned": True},
            },
        ]
    return changed


def _bits(model: nn.Module, start: Start) -> dict[str, tuple[int, int]]:
    layers = {shape.name: model.get_submodule(shape.name) for shape in start.shapes}
    return {
        name: (int(layer.weight_quantizer.num_bits), int(layer.input_quantizer.num_bits))
        for name, layer in layers.items()
        if layer.weight_quantizer.is_enabled and layer.input_quantizer.is_enabled
    }


def _export(model: nn.Module, image: tuple[int, ...], folder: Path) -> None:
    # ModelOpt's own operators have symbols for the exporter that traces.
    torch.onnx.export(model, (torch.zeros(1, *image),), str(folder / "network.onnx"), dynamo=False)


def _steps(start: Start) -> dict[str, TimedTask]:
    return {"ModelOpt, training": TimedTask(Classification(_network(start, 4), start.recipe(1)))}


TOOL = Tool(
    name="modelopt",
    label="ModelOpt",
    how="fixed by the user",
    configured="`mtq.quantize` with `INT8_DEFAULT_CFG`, in which the inner convolutions have fewer "
    "bits, weights by channel, ranges by `max` on 500 images; then the common training "
    "([guide](https://nvidia.github.io/Model-Optimizer/guides/_pytorch_quantization.html)). Its "
    "own search, `auto_quantize`, takes effective bits of weights as target, no bit operations. "
    "4-bit convolutions are simulated only: a runtime for them is not planned "
    "([#178](https://github.com/NVIDIA/Model-Optimizer/issues/178)).",
    better="large language models: formats in blocks (NVFP4, MXFP8), AWQ, and runtimes that use "
    "them.",
    packages=("nvidia-modelopt",),
    compress=compress,
    steps=_steps,
)
