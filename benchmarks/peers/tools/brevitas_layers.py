"""Brevitas: quantized layers that the user puts into the network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from benchmarks.peers.start import Start
from benchmarks.peers.tool import Found, Job, TimedTask, Tool
from benchmarks.peers.training import train_fixed
from sbs.training.classification import Classification


def compress(job: Job) -> Found:
    """Train with fixed bits, for the whole budget."""
    model = _network(job.start, job.level)
    return train_fixed(job, "brevitas", model, _bits, _export)


def _network(start: Start, bits: int) -> nn.Module:
    from benchmarks.brevitas_peer import quantize  # needs Brevitas

    return quantize(start.network(), bits).to(memory_format=torch.channels_last)


def _bits(model: nn.Module, start: Start) -> dict[str, tuple[int, int]]:
    """Bits of each layer; what has no quantizer of its own reads the output of a ReLU."""
    relu = int(model.get_submodule("relu").act_quant.bit_width())
    layers = {shape.name: model.get_submodule(shape.name) for shape in start.shapes}
    return {
        name: (
            int(layer.weight_quant.bit_width()),
            int(layer.input_quant.bit_width()) if layer.input_quant.is_quant_enabled else relu,
        )
        for name, layer in layers.items()
    }


def _export(model: nn.Module, image: tuple[int, ...], folder: Path) -> None:
    from brevitas.export import export_onnx_qcdq

    example = torch.zeros(1, *image)
    # Brevitas' handlers are written for the exporter that traces.
    export_onnx_qcdq(model, args=example, export_path=str(folder / "network.onnx"), dynamo=False)


def _steps(start: Start) -> dict[str, TimedTask]:
    return {"Brevitas, training": TimedTask(Classification(_network(start, 4), start.recipe(1)))}


TOOL = Tool(
    name="brevitas",
    label="Brevitas",
    how="fixed by the user",
    configured="`QuantConv2d(weight_bit_width=…)`, `QuantReLU(bit_width=…)` and `QuantLinear` in "
    "place of PyTorch's layers, default quantizers, ends at 8 bits "
    "([README](https://github.com/Xilinx/brevitas)); export by `export_onnx_qcdq`.",
    better="the widest choice of quantizers, each replaceable layer by layer; QONNX for FPGAs.",
    packages=("brevitas",),
    compress=compress,
    steps=_steps,
)
