"""Facts of a network that surgery, cost and search need, derived from its graph.

Which filters are the same channels and who reads them, which inputs can be negative, and which
layers read the image or output the result.

Libraries for pruning derive such groups too. torch-kirigami 0.2.1 finds the same ones
(tests/test_structure.py compares). But it needs an example input, and seconds for a network, where
jobs of the default scale take seconds in all. It knows nothing of signs, of batch norms that undo a
scale, and of the layers that read the image.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from torch import fx, nn

from sbs.networks import operations as known
from sbs.networks.channels import Group
from sbs.networks.graph import graph_of
from sbs.networks.prunable import Prunable

ENDS = "the first and the last layer stay whole"


@dataclass(frozen=True)
class Structure:
    """Facts of a plain network.

    Attributes:
        layers: its convolutions and linear layers, in forward order.
        prunables: convolutions that can lose filters, in forward order.
        whole: why another layer keeps all its outputs, by layer.
        signed: layers whose input can be negative.
        normalized: convolutions whose output goes only into batch norms, which cancel any scale and
            shift of their weights. Not linear layers, squeeze-and-excitation layers, nor
            convolutions whose output is also added to something.
        first: layers that read the network's input.
        last: layers whose output no other layer reads.
    """

    layers: tuple[str, ...]
    prunables: tuple[Prunable, ...]
    whole: dict[str, str]
    signed: frozenset[str]
    normalized: frozenset[str]
    first: frozenset[str]
    last: frozenset[str]


_STRUCTURES: WeakKeyDictionary[nn.Module, Structure] = WeakKeyDictionary()


def structure_of(model: nn.Module) -> Structure:
    """Facts of a plain network; derived once for each network.

    Args:
        model: the network; not changed.

    Raises:
        SBSError: the network cannot be traced.
    """
    if model not in _STRUCTURES:
        _STRUCTURES[model] = _Walk(model).structure()
    return _STRUCTURES[model]


@dataclass(frozen=True)
class _Value:
    """What is known of a tensor.

    Attributes:
        group: the channels that it has, in their order; None if it has others, or in another order.
        signed: whether it can be negative.
        layers: layers whose outputs reach it without passing another layer.
    """

    group: Group | None
    signed: bool
    layers: frozenset[str]


INPUT = _Value(None, True, frozenset())


class _Walk:
    """One walk over the graph of a network, in forward order."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._modules = dict(model.named_modules())
        self._values: dict[fx.Node, _Value] = {}
        self._groups: dict[str, Group] = {}
        self._whole: dict[str, str] = {}
        self._layers: list[str] = []
        self._signed: set[str] = set()
        self._normalized: dict[str, bool] = {}
        self._first: set[str] = set()
        self._read: set[str] = set()

    def structure(self) -> Structure:
        """Walk, and gather the facts."""
        for node in graph_of(self._model).nodes:
            value = self._value(node)
            if value is not None:
                self._values[node] = value
        last = set(self._layers) - self._read
        for name in self._first | last:
            self._keep(self._groups.get(name), ENDS)
            self._whole.setdefault(name, ENDS)
        free = {name: group for name, group in self._groups.items() if not group.whole}
        kept = {name: group.whole for name, group in self._groups.items() if group.whole}
        return Structure(
            tuple(self._layers),
            tuple(group.prunable() for group in free.values()),
            kept | self._whole,
            frozenset(self._signed),
            frozenset(name for name, always in self._normalized.items() if always),
            frozenset(self._first),
            frozenset(last),
        )

    def _value(self, node: fx.Node) -> _Value | None:
        """What is known of a node's result; None if it is no tensor."""
        if node.op in ("placeholder", "get_attr"):
            return INPUT
        inputs = [self._values[one] for one in node.all_input_nodes if one in self._values]
        if node.op == "output":
            return self._unknown(inputs, "the network outputs them")
        if not inputs or node.target in known.SIZES or _is_attribute(node):
            return None
        if node.op == "call_module":
            if isinstance(self._modules[str(node.target)], nn.Conv2d):
                self._note_readers(node)
            return self._of_module(str(node.target), inputs)
        return self._of_function(node, inputs)

    def _note_readers(self, node: fx.Node) -> None:
        """Note whether only batch norms read a convolution, wherever the network calls it."""
        readers = [
            user.op == "call_module" and self._modules[str(user.target)] for user in node.users
        ]
        norms = bool(readers) and all(isinstance(one, nn.BatchNorm2d) for one in readers)
        name = str(node.target)
        self._normalized[name] = self._normalized.get(name, True) and norms

    def _of_module(self, name: str, inputs: list[_Value]) -> _Value:
        module = self._modules[name]
        if isinstance(module, nn.Conv2d | nn.Linear):
            return self._of_layer(name, module, inputs[0])
        if isinstance(module, nn.BatchNorm2d):
            if inputs[0].group is not None:
                inputs[0].group.norms.append(name)
            return _Value(inputs[0].group, True, inputs[0].layers)
        if isinstance(module, known.PASSING_MODULES):
            return inputs[0]
        if isinstance(module, known.RECTIFYING_MODULES):
            return _Value(inputs[0].group, False, inputs[0].layers)
        if isinstance(module, known.ACTIVATING_MODULES):
            return _Value(inputs[0].group, True, inputs[0].layers)
        if isinstance(module, nn.Flatten) and module.start_dim == 1:
            return inputs[0]
        return self._unknown(inputs, f"{name} ({type(module).__name__}) reads them")

    def _of_layer(self, name: str, layer: nn.Conv2d | nn.Linear, read: _Value) -> _Value:
        if name in self._layers:
            for group in (read.group, self._groups.get(name)):
                self._keep(group, f"{name} is used at several places")
        else:
            self._layers.append(name)
        self._read |= read.layers
        if read.signed:
            self._signed.add(name)
        if not read.layers:
            self._first.add(name)
        return _Value(self._channels(name, layer, read.group), True, frozenset({name}))

    def _channels(
        self, name: str, layer: nn.Conv2d | nn.Linear, read: Group | None
    ) -> Group | None:
        """The channels that a layer outputs; note how it reads others."""
        if isinstance(layer, nn.Linear):
            self._keep(read, f"{name}, a linear layer, reads them")
            self._whole[name] = "only convolutions lose filters"
            return None
        if layer.groups == 1:
            if read is not None:
                read.consumers.append(name)
            return self._groups.setdefault(name, Group(name))
        if layer.groups == layer.in_channels == layer.out_channels:
            if read is not None:
                read.producers.append(name)
            self._whole[name] = "a depthwise convolution has the channels that it reads"
            return read
        self._keep(read, f"{name} reads them in groups")
        self._whole[name] = "its filters are in groups"
        return None

    def _of_function(self, node: fx.Node, inputs: list[_Value]) -> _Value:
        target = node.target
        if target in known.PASSING or _flattens(node) or _averages(node):
            return inputs[0]
        if target in known.RECTIFYING:
            return _Value(inputs[0].group, False, inputs[0].layers)
        if target in known.ACTIVATING:
            return _Value(inputs[0].group, True, inputs[0].layers)
        if target in known.SUMS:
            return self._sum(inputs)
        if target in known.PRODUCTS:
            return self._product(inputs)
        if target in known.CONCATENATIONS:
            found = self._unknown(inputs, "they are concatenated with others")
            return replace(found, signed=_any_signed(inputs))
        name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        found = self._unknown(inputs, f"{name} reads them")
        moved = target in known.REARRANGING | known.RESHAPES | known.FLATTENING
        return replace(found, signed=_any_signed(inputs)) if moved else found

    def _sum(self, inputs: list[_Value]) -> _Value:
        if len(inputs) == 1:  # a number is added
            return _Value(inputs[0].group, True, inputs[0].layers)
        groups = [value.group for value in inputs]
        for one, other in zip(groups, reversed(groups), strict=True):
            others = "other values" if other is None else f"those of {other.layer}"
            self._keep(one, f"they are added to {others}")
        return _Value(None, _any_signed(inputs), _all_layers(inputs))

    def _product(self, inputs: list[_Value]) -> _Value:
        signed, layers = _any_signed(inputs), _all_layers(inputs)
        if len(inputs) == 1:  # times a number
            return _Value(inputs[0].group, True, layers)
        groups = [value.group for value in inputs]
        if groups[0] is None or groups[1] is None:
            self._unknown(inputs, "they are multiplied with other values")
            return _Value(None, signed, layers)
        return _Value(self._joined(groups[0], groups[1]), signed, layers)

    def _joined(self, one: Group, other: Group) -> Group:
        """The channels of two groups that scale each other, as one group: that of the first."""
        if one is other:
            return one
        order = list(self._groups)
        earlier, later = sorted((one, other), key=lambda group: order.index(group.layer))
        earlier.absorb(later)
        self._whole[later.layer] = f"its filters are those of {earlier.layer}"
        del self._groups[later.layer]
        self._values = {
            node: _Value(earlier, value.signed, value.layers) if value.group is later else value
            for node, value in self._values.items()
        }
        return earlier

    def _unknown(self, inputs: list[_Value], reason: str) -> _Value:
        for value in inputs:
            self._keep(value.group, reason)
        return _Value(None, True, _all_layers(inputs))

    @staticmethod
    def _keep(group: Group | None, reason: str) -> None:
        if group is not None:
            group.keep(reason)


def _any_signed(inputs: Iterable[_Value]) -> bool:
    return any(value.signed for value in inputs)


def _all_layers(inputs: Iterable[_Value]) -> frozenset[str]:
    return frozenset().union(*(value.layers for value in inputs))


def _is_attribute(node: fx.Node) -> bool:
    return node.target is getattr


def _flattens(node: fx.Node) -> bool:
    """Whether all dimensions but the first become one."""
    start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
    if node.target in known.FLATTENING:
        return bool(start == 1) and len(node.args) < 3
    return node.target in known.RESHAPES and len(node.args) == 3 and bool(node.args[2] == -1)


def _averages(node: fx.Node) -> bool:
    """Whether the mean over both dimensions of the image is taken."""
    over = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    places = (
        {place % 4 for place in over if isinstance(place, int)}
        if isinstance(over, list | tuple)
        else None
    )
    return node.target in known.MEANS and places == {2, 3}
