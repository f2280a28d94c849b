"""The graph of a network, and facts that follow from it."""

from __future__ import annotations

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


def normalized_layers(model: nn.Module) -> frozenset[str]:
    """Names of the convolutions whose output goes only into batch norms.

    The batch norm cancels any scale and shift of their weights. Not included: linear layers,
    squeeze-and-excitation layers, and convolutions whose output is also added to something.

    Args:
        model: a plain network; not changed.

    Raises:
        SBSError: the network cannot be traced.
    """
    modules = dict(model.named_modules())
    normalized: dict[str, bool] = {}
    for node in graph_of(model).nodes:
        if node.op == "call_module" and isinstance(modules[node.target], nn.Conv2d):
            readers = [user.op == "call_module" and modules[user.target] for user in node.users]
            all_norms = all(isinstance(reader, nn.BatchNorm2d) for reader in readers)
            # The forward pass can call a convolution at several places.
            normalized[node.target] = (
                normalized.get(node.target, True) and bool(readers) and all_norms
            )
    return frozenset(name for name, always in normalized.items() if always)
