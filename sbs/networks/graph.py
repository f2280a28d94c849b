"""Facts from the graph of a network: which convolutions a batch norm follows."""

from __future__ import annotations

from torch import fx, nn

from sbs.errors import SBSError


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
    for node in _graph(model).nodes:
        if node.op == "call_module" and isinstance(modules[node.target], nn.Conv2d):
            readers = [user.op == "call_module" and modules[user.target] for user in node.users]
            all_norms = all(isinstance(reader, nn.BatchNorm2d) for reader in readers)
            # The forward pass can call a convolution at several places.
            normalized[node.target] = (
                normalized.get(node.target, True) and bool(readers) and all_norms
            )
    return frozenset(name for name, always in normalized.items() if always)


class _Tracer(fx.Tracer):
    """Traces into modules that have submodules; the insides of the others do not matter."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return next(m.children(), None) is None


def _graph(model: nn.Module) -> fx.Graph:
    try:
        return _Tracer().trace(model)
    except Exception as error:  # the tracer runs the network's own code
        raise SBSError(
            f"{type(model).__name__}: torch.fx cannot trace the network ({error}); its forward "
            "must not branch on the values of tensors"
        ) from error
