"""What a compression is about: a network, its data, and where it computes."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sbs.compression.loader import LoaderBatches
from sbs.cost.layers import LayerShape
from sbs.cost.trace import trace_with
from sbs.errors import SBSError
from sbs.networks import NetworkSpec
from sbs.networks.own_forward import split_layers
from sbs.nn.convolution import accelerate
from sbs.training.batch import Batch, mapped


@dataclass(frozen=True)
class Subject:
    """The network to compress and its data.

    Attributes:
        plain: the given network, on the CPU.
        batches: the training batches.
        example: one input, a tuple of the network's arguments, on the CPU.
        shapes: shapes of its layers.
        device: device to compute on.
        seed: of all random choices.
    """

    plain: nn.Module
    batches: LoaderBatches
    example: tuple[Any, ...]
    shapes: tuple[LayerShape, ...]
    device: torch.device
    seed: int

    @classmethod
    def of(
        cls,
        model: nn.Module,
        loader: Iterable[Batch],
        example: Tensor | tuple[Any, ...] | None,
        device: torch.device,
        seed: int,
    ) -> Subject:
        """Trace the network.

        Raises:
            SBSError: it cannot be traced, or nothing of it can be compressed.
        """
        batches = LoaderBatches(loader, device, seed)
        plain = accelerate(split_layers(copy.deepcopy(model).cpu()))
        if example is None:
            example = _first_item(batches.first_batch())
        inputs = example if isinstance(example, tuple) else (example,)
        inputs = mapped(inputs, lambda tensor: tensor.detach().cpu())
        shapes = trace_with(plain, inputs)
        if all(shape.end for shape in shapes):
            raise SBSError(
                f"{type(model).__name__}: there is nothing to decide; only layers between the "
                "first and the last one can have other bitwidths or fewer filters. sbs.inspect "
                "says why layers are left alone"
            )
        return cls(plain, batches, inputs, shapes, device, seed)

    @property
    def spec(self) -> NetworkSpec:
        """Every convolution that can lose filters may."""
        return NetworkSpec(type(self.plain).__name__)

    def network(self) -> nn.Module:
        """A copy of the network on the device."""
        model = copy.deepcopy(self.plain).to(memory_format=torch.channels_last)
        result: nn.Module = model.to(self.device)
        return result


def check_pairs(batch: Batch) -> None:
    """Check that the default loss can take a batch.

    Raises:
        SBSError: the batch is no pair of inputs and labels.
    """
    if not (isinstance(batch, list | tuple) and len(batch) == 2):
        raise SBSError(
            "loss: batches are no pairs of inputs and labels; give a function loss(model, batch)"
        )


def _first_item(batch: Batch) -> Tensor:
    """The input of one item, from a batch of inputs and labels."""
    if isinstance(batch, list | tuple) and batch and isinstance(batch[0], Tensor):
        return batch[0][:1]
    raise SBSError(
        "example_input: batches are no pairs of inputs and labels; give the network's input for "
        "one item"
    )
