"""One walk over the graph of a network, which derives the facts of its :class:`Structure`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import fx, nn

from sbs.networks import dimensions
from sbs.networks import operations as known
from sbs.networks.channels import Channels, Group, concatenated
from sbs.networks.eligible import Eligible, Layer
from sbs.networks.graph import Traced
from sbs.networks.prunable import Prunable
from sbs.networks.value import INPUT, Value, all_layers, any_signed, as_many

ENDS = "the first and the last layer stay whole"


@dataclass(frozen=True)
class Structure:
    """Facts of a plain network.

    Attributes:
        layers: convolutions and linear layers that can be quantized, in forward order.
        alone: why another of them stays as it is, by layer.
        opaque: why a module with layers inside stays as it is, by name.
        prunables: convolutions that can lose filters, in forward order.
        whole: why another of ``layers`` keeps all its outputs, by layer.
        signed: layers whose input can be negative.
        normalized: convolutions whose output goes only into batch norms, which cancel any scale and
            shift of their weights. Not linear layers, squeeze-and-excitation layers, nor
            convolutions whose output is also added to something.
        first: layers that read the network's input.
        last: layers whose output no other layer reads.
    """

    layers: tuple[str, ...]
    alone: dict[str, str]
    opaque: dict[str, str]
    prunables: tuple[Prunable, ...]
    whole: dict[str, str]
    signed: frozenset[str]
    normalized: frozenset[str]
    first: frozenset[str]
    last: frozenset[str]


class Walk:
    """One walk over the graph of a network, in forward order."""

    def __init__(self, model: nn.Module, traced: Traced) -> None:
        """Begin at the inputs.

        Args:
            model: the network.
            traced: its graph.
        """
        self._graph, self._opaque = traced
        self._eligible = Eligible(model, self._graph)
        self._modules = dict(model.named_modules())
        self._values: dict[fx.Node, Value] = {}
        self._groups: dict[str, Group] = {}
        self._normed: dict[str, Value] = {}
        self._whole: dict[str, str] = {}
        self._layers: list[str] = []
        self._alone: dict[str, str] = {}
        self._signed: set[str] = set()
        self._normalized: set[str] = set()
        self._first: set[str] = set()
        self._read: set[str] = set()

    def structure(self) -> Structure:
        """Walk, and gather the facts."""
        for node in self._graph.nodes:
            value = self._value(node)
            if value is not None:
                self._values[node] = value
        last = set(self._layers) - self._read
        for name in self._first | last:
            if name in self._groups:
                self._groups[name].keep(ENDS)
            self._whole.setdefault(name, ENDS)
        free = {name: group for name, group in self._groups.items() if not group.whole}
        kept = {name: group.whole for name, group in self._groups.items() if group.whole}
        return Structure(
            tuple(self._layers),
            self._alone,
            self._opaque,
            tuple(group.prunable() for group in free.values()),
            kept | self._whole,
            frozenset(self._signed),
            frozenset(self._normalized),
            frozenset(self._first),
            frozenset(last),
        )

    def _value(self, node: fx.Node) -> Value | None:
        """What is known of a node's result; None if it is no tensor."""
        if node.op in ("placeholder", "get_attr"):
            return INPUT
        inputs = [self._values[one] for one in node.all_input_nodes if one in self._values]
        if node.op == "output":
            return self._unknown(inputs, "the network outputs them")
        if not inputs or dimensions.is_no_tensor(node):
            return None
        if node.op == "call_module":
            module = self._modules[str(node.target)]
            if isinstance(module, Layer):
                return self._of_layer(node, module, inputs)
            return self._of_module(str(node.target), module, inputs)
        return self._of_function(node, inputs)

    def _of_module(self, name: str, module: nn.Module, inputs: list[Value]) -> Value:
        read = inputs[0]
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            return self._of_norm(name, module, read)
        if isinstance(module, nn.Upsample) and module.mode in known.OVERSHOOTING:
            return replace(read, signed=True)
        if isinstance(module, known.PASSING_MODULES) or known.is_stochastic_depth(module):
            return read
        if isinstance(module, known.RECTIFYING_MODULES):
            return replace(read, signed=False)
        if isinstance(module, known.ACTIVATING_MODULES):
            return replace(read, signed=True)
        if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1):
            return read.flattened()
        found = self._unknown(inputs, f"{name} ({type(module).__name__}) reads them")
        if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d):
            rank = len(module.kernel_size) + 2
            return replace(found, channels=Channels.of(None, module.out_channels, rank))
        return found

    def _of_norm(self, name: str, norm: nn.BatchNorm1d | nn.BatchNorm2d, read: Value) -> Value:
        channels = read.channels
        if channels is None or channels.width != norm.num_features:
            return self._unknown([read], f"{name} ({type(norm).__name__}) reads them")
        if name in self._normed:
            for value in (self._normed[name], read):
                value.keep(f"{name} reads them and other values")
        self._normed[name] = read
        for group, span in channels.spans(name, norm.num_features):
            group.norms.append(span)
        return replace(read, signed=True)

    def _of_layer(self, node: fx.Node, layer: Layer, inputs: list[Value]) -> Value:
        name, read = str(node.target), inputs[0]
        reason = self._eligible.why_not(name, layer)
        if reason:
            self._alone[name] = reason
            return self._unknown(inputs, reason)
        self._layers.append(name)
        self._read |= read.layers
        if read.signed:
            self._signed.add(name)
        if not read.layers:
            self._first.add(name)
        if self._is_normalized(node, layer):
            self._normalized.add(name)
        return Value(self._channels(name, layer, read), True, frozenset({name}))

    def _is_normalized(self, node: fx.Node, layer: Layer) -> bool:
        """Whether only batch norms read the output of a convolution."""
        readers = [
            user.op == "call_module" and self._modules[str(user.target)] for user in node.users
        ]
        norms = all(isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d) for one in readers)
        return not isinstance(layer, nn.Linear) and bool(readers) and norms

    def _channels(self, name: str, layer: Layer, read: Value) -> Channels | None:
        """The channels that a layer outputs; note how it reads others."""
        if isinstance(layer, nn.Linear):
            self._note_reader(name, layer.in_features, read, rank=2)
            self._whole[name] = "only convolutions lose filters"
            return None
        rank, filters = len(layer.kernel_size) + 2, layer.out_channels
        if layer.groups == 1:
            self._note_reader(name, layer.in_channels, read, rank)
            self._groups[name] = Group(name)
            return Channels.of(self._groups[name], filters, rank)
        if layer.groups == layer.in_channels == filters and len(read.segments) < 2:
            if read.group is not None:
                read.group.producers.append(name)
            self._whole[name] = "a depthwise convolution has the channels that it reads"
            return Channels.of(read.group, filters, rank)
        read.keep(f"{name} reads them in groups")
        self._whole[name] = "its filters are in groups"
        return Channels.of(None, filters, rank)

    @staticmethod
    def _note_reader(name: str, features: int, read: Value, rank: int) -> None:
        """Note where a layer reads which channels."""
        channels = read.channels
        if channels is None:
            return
        repeated = features != channels.width
        fits = channels.rank == rank and features % channels.width == 0
        if not fits or (repeated and rank > 2):
            read.keep(f"{name} reads another dimension of them")
            return
        for group, span in channels.spans(name, features):
            group.consumers.append(span)

    def _of_function(self, node: fx.Node, inputs: list[Value]) -> Value:
        target, read = node.target, inputs[0]
        rank = 0 if read.channels is None else read.channels.rank
        if dimensions.overshoots(node):
            return replace(read, signed=True)
        if target in known.PASSING or known.is_stochastic_depth(target):
            return read
        if rank and dimensions.pads_places(node, rank):
            return read
        if dimensions.flattens(node):
            return read.flattened()
        if rank and dimensions.averages(node, rank):
            return read if dimensions.keeps_dimensions(node) else read.flattened()
        if target in known.RECTIFYING:
            return replace(read, signed=False)
        if target in known.ACTIVATING:
            return replace(read, signed=True)
        if target in known.SUMS:
            return self._sum(inputs, signed=dimensions.subtracts(node))
        if target in known.PRODUCTS:
            return self._product(inputs)
        if target in known.CONCATENATIONS:
            return self._concatenation(node, rank)
        name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        found = self._unknown(inputs, f"{name} reads them")
        moved = target in known.REARRANGING | known.RESHAPES | known.FLATTENING | known.MEANS
        return replace(found, signed=any_signed(inputs)) if moved else found

    def _sum(self, inputs: list[Value], *, signed: bool) -> Value:
        if len(inputs) == 1:  # a number is added
            return replace(inputs[0], signed=True)
        for one, other in zip(inputs, reversed(inputs), strict=True):
            others = "other values" if other.group is None else f"those of {other.group.layer}"
            one.keep(f"they are added to {others}")
        return Value(as_many(inputs), signed or any_signed(inputs), all_layers(inputs))

    def _product(self, inputs: list[Value]) -> Value:
        signed, layers = any_signed(inputs), all_layers(inputs)
        if len(inputs) == 1:  # times a number
            return Value(inputs[0].channels, True, layers)
        one, other = (value.group for value in inputs)
        if one is None or other is None or as_many(inputs) is None:
            self._unknown(inputs, "they are multiplied with other values")
            return Value(as_many(inputs), signed, layers)
        joined, like = self._joined(one, other), inputs[0].channels
        assert like is not None
        return Value(Channels.of(joined, like.width, like.rank), signed, layers)

    def _joined(self, one: Group, other: Group) -> Group:
        """The channels of two groups that scale each other, as one group: that of the first."""
        if one is other:
            return one
        order = list(self._groups)
        earlier, later = sorted((one, other), key=lambda group: order.index(group.layer))
        earlier.absorb(later)
        self._whole[later.layer] = f"its filters are those of {earlier.layer}"
        del self._groups[later.layer]
        for node, value in self._values.items():
            if value.channels is not None:
                channels = value.channels.replaced(later, earlier)
                self._values[node] = replace(value, channels=channels)
        return earlier

    def _concatenation(self, node: fx.Node, rank: int) -> Value:
        parts = node.args[0] if node.args else node.kwargs["tensors"]
        listed = isinstance(parts, list | tuple)
        nodes = parts if isinstance(parts, list | tuple) else node.all_input_nodes
        inputs = [self._values[one] for one in nodes if isinstance(one, fx.Node)]
        channels = [value.channels for value in inputs if value.channels is not None]
        same_rank = {one.rank for one in channels} == {rank}
        known_all = listed and len(channels) == len(inputs) and same_rank
        if not known_all or not dimensions.concatenates_channels(node, rank):
            found = self._unknown(inputs, "they are concatenated with others")
            return replace(found, signed=any_signed(inputs))
        return Value(concatenated(channels), any_signed(inputs), all_layers(inputs))

    @staticmethod
    def _unknown(inputs: list[Value], reason: str) -> Value:
        for value in inputs:
            value.keep(reason)
        return Value(None, True, all_layers(inputs))
