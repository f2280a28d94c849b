"""What surgery, cost and search need to know of a network besides its graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sbs.networks.prunable import Prunable

if TYPE_CHECKING:
    from torch import nn

    from sbs.networks.structure import Structure


@dataclass(frozen=True)
class NetworkSpec:
    """A network's name and its pruning. What its graph says is derived, see
    ``sbs.networks.structure``.

    Attributes:
        name: its name.
        blocks: classes of its residual blocks; their first convolutions can lose filters (section
            4.2). Empty: every convolution that can.
    """

    name: str
    blocks: tuple[type[nn.Module], ...] = ()

    def prunables(self, model: nn.Module) -> tuple[Prunable, ...]:
        """The convolutions of a plain network that can lose filters."""
        found = self._structure(model).prunables
        if not self.blocks:
            return found
        first = _first_convolutions(model, self.blocks)
        return tuple(one for one in found if one.layer in first)

    def signed_inputs(self, model: nn.Module) -> frozenset[str]:
        """Names of the layers of a plain network whose input can be negative."""
        return self._structure(model).signed

    @staticmethod
    def _structure(model: nn.Module) -> Structure:
        from sbs.networks.structure import structure_of

        return structure_of(model)


@dataclass(frozen=True, kw_only=True)
class RegisteredNetwork(NetworkSpec):
    """A network that is built by its name.

    Attributes:
        build: (classes, input channels) -> network with new random weights.
        image_size: height and width of the images in the paper's dataset.
        classes: number of classes in that dataset.
    """

    build: Callable[[int, int], nn.Module]
    image_size: int
    classes: int

    @property
    def first_layer(self) -> str:
        """Name of the layer that reads the image."""
        return self._ends[0]

    @property
    def last_layer(self) -> str:
        """Name of the layer that outputs the logits."""
        return self._ends[1]

    @cached_property
    def _ends(self) -> tuple[str, str]:
        import torch

        with torch.device("meta"):
            found = self._structure(self.build(self.classes, 3))
        (first,), (last,) = found.first, found.last
        return first, last


def _first_convolutions(model: nn.Module, blocks: tuple[type[nn.Module], ...]) -> set[str]:
    from torch import nn

    return {
        next(f"{name}.{part}" for part, one in block.named_modules() if isinstance(one, nn.Conv2d))
        for name, block in model.named_modules()
        if isinstance(block, blocks)
    }
