"""The graph of a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import fx, nn

from sbs.errors import SBSError


class Tracer(fx.Tracer):
    """Traces into modules that have submodules, except PyTorch's own and those of given types."""

    def __init__(self, leaves: tuple[type[nn.Module], ...] = ()) -> None:
        super().__init__()
        self._leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether the inside of a module does not matter."""
        of_pytorch = type(m).__module__.startswith("torch.nn") and not isinstance(m, nn.Sequential)
        return of_pytorch or isinstance(m, self._leaves) or next(m.children(), None) is None


def graph_of(model: nn.Module, leaves: tuple[type[nn.Module], ...] = ()) -> fx.Graph:
    """The graph of a network in its present mode, training or not.

    Args:
        model: the network; not changed.
        leaves: types of modules that stay whole, besides those without submodules.

    Raises:
        SBSError: the network cannot be traced.
    """
    try:
        return Tracer(leaves).trace(model)
    except Exception as error:  # the tracer runs the network's own code
        raise SBSError(
            f"{type(model).__name__}: torch.fx cannot trace the network ({error}); its forward "
            "must not branch on the values of tensors"
        ) from error


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[nn.Module]:
    """The network in one mode; afterwards each of its modules is in its own again."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield model.train(training)
    finally:
        for module, mode in modes.items():
            module.training = mode
