"""Functions of the caller that look for attributes which only his own network has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from sbs.errors import SBSError
from sbs.training.batch import Batch

T = TypeVar("T")


def explaining_attributes(
    function: Callable[[nn.Module, Batch], T], argument: str, own: nn.Module
) -> Callable[[nn.Module, Batch], T]:
    """A loss or a metric that says what to do about an attribute that a network does not have.

    Surgery rebuilds a network from its layers and the graph of its forward pass. Other attributes
    and methods do not come along, since methods would work with the layers before surgery.

    Args:
        function: (network, batch) -> loss or score.
        argument: its name.
        own: the caller's network.
    """

    def explained(network: nn.Module, batch: Batch) -> T:
        try:
            return function(network, batch)
        except AttributeError as error:
            if not _left_behind(error, own):
                raise
            raise SBSError(
                f"{argument}: networks in training have the layers and the forward pass of your "
                f"{type(own).__name__}, but not its {error.name!r}; take that from your own "
                f"network, as in lambda net, batch: mine.{error.name} ... net(batch[0]) ..."
            ) from error

    return explained


def _left_behind(error: AttributeError, own: nn.Module) -> bool:
    """Whether a module lacks an attribute that one of the caller's modules has."""
    name = error.name or ""
    return isinstance(error.obj, nn.Module) and any(hasattr(one, name) for one in own.modules())
