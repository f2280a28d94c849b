"""The graph of a network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import fx, nn

from sbs.errors import SBSError
from sbs.networks.eligible import Layer
from sbs.nn.joined import normalized_and_quantized


class Tracer(fx.Tracer):
    """Traces into modules that have submodules, except PyTorch's own and those of given types.

    A module that cannot be traced stays whole: a node without what is inside.

    Attributes:
        opaque: why a module cannot be traced, by name.
    """

    def __init__(self, leaves: tuple[type[nn.Module], ...] = ()) -> None:
        # A pickled network of a policy is traced once more when it is loaded.
        super().__init__(autowrap_functions=(normalized_and_quantized,))
        self._leaves = leaves
        self.opaque: dict[str, str] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether the inside of a module does not matter."""
        of_pytorch = type(m).__module__.startswith("torch.nn") and not isinstance(m, nn.Sequential)
        if of_pytorch or isinstance(m, (*self._leaves, Layer)):
            return True
        return next(m.children(), None) is None and not isinstance(m, fx.GraphModule)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Trace into a module; if that fails, remove what it has left in the graph."""
        before, stack = len(self.graph.nodes), dict(self.module_stack)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception as error:  # the tracer runs the network's own code
            self.module_stack.clear()
            self.module_stack.update(stack)
            for node in reversed(list(self.graph.nodes)[before:]):
                self.graph.erase_node(node)
            name = self.path_of_module(m)
            self.opaque[name] = f"torch.fx cannot trace it ({_short(error)})"
            return self.create_proxy("call_module", name, args, kwargs)


def switches(model: nn.Module) -> dict[str, bool | None]:
    """Arguments of a forward pass that are off or absent unless given, with these defaults.

    They choose what the network computes, so a graph is of their defaults alone.
    """
    return {
        name: parameter.default
        for name, parameter in inspect.signature(model.forward).parameters.items()
        if parameter.default is None or isinstance(parameter.default, bool)
    }


class Traced(NamedTuple):
    """The graph of a network.

    Attributes:
        graph: the graph.
        opaque: why a module in it cannot be traced, by name; it stays whole.
    """

    graph: fx.Graph
    opaque: dict[str, str]


def graph_of(model: nn.Module, leaves: tuple[type[nn.Module], ...] = ()) -> Traced:
    """The graph of a network in its present mode, training or not, without its :func:`switches`.

    Args:
        model: the network; not changed.
        leaves: types of modules that stay whole, besides those without submodules.

    Raises:
        SBSError: the forward pass of the network itself cannot be traced.
    """
    tracer, fixed = Tracer(leaves), switches(model)
    try:
        graph = tracer.trace(model, concrete_args=dict(fixed) or None)
        _remove_inputs(graph, fixed)
        return Traced(graph, tracer.opaque)
    except Exception as error:  # the tracer runs the network's own code
        raise SBSError(
            f"{type(model).__name__}: torch.fx cannot trace the network ({_short(error)}); its "
            "forward must not branch on the values of tensors. Move what does into a module of its "
            "own, which then stays as it is"
        ) from error


def _remove_inputs(graph: fx.Graph, names: Container[str]) -> None:
    """Remove inputs that have fixed values, with the checks of these values."""
    for node in list(graph.nodes):
        # The tracer numbers the inputs: `mask_1`.
        if node.op == "placeholder" and str(node.target).rpartition("_")[0] in names:
            for check in reversed([node, *_checks(node)]):
                graph.erase_node(check)


def _checks(node: fx.Node) -> Iterator[fx.Node]:
    for user in node.users:
        yield user
        yield from _checks(user)


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[nn.Module]:
    """The network in one mode; afterwards each of its modules is in its own again."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield model.train(training)
    finally:
        for module, mode in modes.items():
            module.training = mode
