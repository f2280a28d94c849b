"""Latency and energy of a network's layers on a BitFusion accelerator."""

from __future__ import annotations

from functools import cache

from sbs.cost.bitfusion.machine import Machine
from sbs.cost.bitfusion.setting import Setting
from sbs.cost.bitfusion.simulate import simulate
from sbs.cost.bitfusion.work import Simulated, Work
from sbs.cost.layers import LayerShape
from sbs.errors import SBSError


def simulated_layer(
    shape: LayerShape, weight_bits: int, activation_bits: int, setting: Setting
) -> Simulated:
    """Cycles and energy of a layer for a whole batch; layers do not overlap, so they add up.

    Args:
        shape: the layer, after pruning (:func:`sbs.cost.layers.prune_shapes`).
        weight_bits: bits of its weights.
        activation_bits: bits of its input.
        setting: the machine, and how layers are given to it.

    Raises:
        SBSError: the layer has more than 8 bits, groups that are not depthwise, or an output or
            kernel that is not square.
    """
    return _simulated(layer_work(shape, weight_bits, activation_bits, setting), setting.machine)


def layer_work(shape: LayerShape, weight_bits: int, activation_bits: int, setting: Setting) -> Work:
    """A layer in the simulator's terms; arguments and errors of :func:`simulated_layer`."""
    (height, width), (rows, columns) = shape.kernel, shape.output_size
    if height != width or rows != columns or (shape.groups > 1 and not shape.depthwise):
        raise SBSError(
            f"BitFusion: {shape.name}: only layers with square kernels and outputs are known, and "
            f"of grouped ones only depthwise ones; got kernel {shape.kernel}, output "
            f"{shape.output_size}, {shape.groups} groups"
        )
    return Work(
        kernel=height,
        stride=max(1, round(shape.input_size[0] / rows)),
        size=rows,
        inputs=1 if shape.depthwise else shape.in_channels,
        filters=shape.out_channels,
        input_bits=activation_bits,
        weight_bits=weight_bits,
        batch=setting.batch,
        patches=shape.first or (shape.depthwise and setting.depthwise_patches),
        first=shape.first,
    )


@cache
def _simulated(work: Work, machine: Machine) -> Simulated:
    """Networks repeat their layers, and a search asks for the same ones again."""
    return simulate(work, machine)
