"""Latency and energy of a network on a BitFusion accelerator, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sbs.cost.bitfusion.machine import Machine
from sbs.cost.bitfusion.simulate import Simulated, Work, simulate
from sbs.cost.layers import LayerShape
from sbs.errors import SBSError
from sbs.policy import Policy


@dataclass(frozen=True)
class Setting:
    """A machine, and how layers are given to it.

    Attributes:
        machine: the accelerator.
        batch: images at a time.
        depthwise_patches: the simulator knows no groups, so a depthwise layer is a layer with one
            input channel. Either one row of the array works then, or, if its patches are laid out
            in memory (true), as many rows as its kernel has elements.
    """

    machine: Machine
    batch: int = 16
    depthwise_patches: bool = False


@dataclass(frozen=True)
class LayerCost:
    """Cost of one layer.

    Attributes:
        name: name of the layer.
        simulated: its cycles and energy for the whole batch.
        milliseconds: time of the whole batch.
        millijoules: energy of the whole batch.
    """

    name: str
    simulated: Simulated
    milliseconds: float
    millijoules: float


def layer_costs(layers: Sequence[LayerShape], policy: Policy, setting: Setting) -> list[LayerCost]:
    """Cost of every layer under a policy; layers do not overlap, so costs add up.

    Args:
        layers: shapes of the layers, in forward order, after pruning
            (:func:`sbs.cost.layers.prune_shapes`). The first one reads the image.
        policy: bitwidths.
        setting: the machine, and how layers are given to it.

    Raises:
        SBSError: a layer has more than 8 bits, groups that are not depthwise, or an output or
            kernel that is not square.
    """
    costs = []
    for position, shape in enumerate(layers):
        bits = policy.layers[shape.name]
        work = layer_work(
            shape, bits.weight_bits, bits.activation_bits, setting, first=position == 0
        )
        found = _simulated(work, setting.machine)
        milliseconds = 1000 * found.cycles / setting.machine.frequency
        costs.append(LayerCost(shape.name, found, milliseconds, found.energy / 1e6))
    return costs


def layer_work(
    shape: LayerShape, weight_bits: int, activation_bits: int, setting: Setting, *, first: bool
) -> Work:
    """A layer in the simulator's terms.

    Args:
        shape: the layer.
        weight_bits: bits of its weights.
        activation_bits: bits of its input.
        setting: batch, and how depthwise layers are given.
        first: whether it reads the image.

    Raises:
        SBSError: see :func:`layer_costs`.
    """
    depthwise = shape.groups == shape.in_channels > 1
    (height, width), (rows, columns) = shape.kernel, shape.output_size
    if height != width or rows != columns or (shape.groups > 1 and not depthwise):
        raise SBSError(
            f"BitFusion: {shape.name}: only layers with square kernels and outputs are known, and "
            f"of grouped ones only depthwise ones; got kernel {shape.kernel}, output "
            f"{shape.output_size}, {shape.groups} groups"
        )
    return Work(
        kernel=height,
        stride=max(1, round(shape.input_size[0] / rows)),
        size=rows,
        inputs=1 if depthwise else shape.in_channels,
        filters=shape.out_channels,
        input_bits=activation_bits,
        weight_bits=weight_bits,
        batch=setting.batch,
        patches=first or (depthwise and setting.depthwise_patches),
        first=first,
    )


@cache
def _simulated(work: Work, machine: Machine) -> Simulated:
    """Networks repeat their layers, and a search asks for the same ones again."""
    return simulate(work, machine)
