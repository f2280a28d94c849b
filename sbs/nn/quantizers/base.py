"""What the rest needs to know of a quantizer, and the quantizers by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from sbs.errors import SBSError
from sbs.nn.batch_norm import Values
from sbs.quantization.grid import WeightGrid


class Quantizer(ABC):
    """The rules by which a network of a policy is quantized.

    Attributes:
        name: what ``quantizer`` in ``policy.json`` says.
        needs_finetuning: the weights of a search still have to learn at the policy's bitwidths.
        own_layout: parameters have other names than in the plain network, so that weights load
            into the network of the policy alone.
    """

    name: ClassVar[str]
    needs_finetuning: ClassVar[bool] = True
    own_layout: ClassVar[bool] = False

    @abstractmethod
    def network(self, model: nn.Module, swap_layers: Callable[[], nn.Module]) -> nn.Module:
        """The network of a policy. In place.

        Args:
            model: the plain network.
            swap_layers: prunes ``model``, and puts layers that hold this quantizer into it.
        """

    @abstractmethod
    def weight_key(self, layer: str) -> str:
        """Name of a layer's weights in the state dict of the network."""

    @abstractmethod
    def quantized_weight(self, layer: nn.Module) -> Tensor:
        """Weights as the arithmetic of a layer gets them."""

    @abstractmethod
    def weight_grid(self, layer: nn.Module) -> WeightGrid | None:
        """What integer codes of a layer's weights stand for; None at full precision."""

    @abstractmethod
    def hold_quantized(self, layer: nn.Module) -> None:
        """Prepare a layer for weights that are quantized already, those of an exported file."""


@runtime_checkable
class QuantizedLayer(Protocol):
    """A layer that holds its quantizer (:mod:`sbs.nn.layers`)."""

    def quantized_weight(self) -> Tensor:
        """Weights as the arithmetic gets them."""
        ...

    def weight_grid(self) -> WeightGrid | None:
        """What integer codes of the weights stand for; None at full precision."""
        ...

    def hold_quantized(self) -> None:
        """Take the weights as they are from now on."""
        ...


class LayerQuantizer(Quantizer):
    """A quantizer of layers, at fixed bitwidths: a subclass gives its three functions.

    Attributes:
        standardizes: its weights are standardised where a batch norm undoes the scale.
        learns_weight_interval: its function of the weights uses their interval.
    """

    standardizes: ClassVar[bool] = False
    learns_weight_interval: ClassVar[bool] = True

    @abstractmethod
    def fake_quantize_weight(self, w: Tensor, interval: Tensor, bits: int) -> Tensor:
        """Quantize weights of any shape.

        Args:
            w: weights, standardised if the quantizer wants it.
            interval: the layer's scalar parameter ``weight_interval``.
            bits: bitwidth.
        """

    @abstractmethod
    def fake_quantize_input(
        self, x: Values, interval: Tensor, bits: int, *, signed: bool
    ) -> Tensor:
        """Quantize the input of a layer, of any shape.

        Args:
            x: values, or a batch norm that still waits.
            interval: the layer's scalar parameter ``activation_interval``.
            bits: bitwidth.
            signed: the input can be negative.
        """

    @abstractmethod
    def scale_and_offset(self, interval: Tensor, bits: int) -> tuple[float, float]:
        """Distance of two levels of the weights, and the lowest level.

        Args:
            interval: as of :meth:`fake_quantize_weight`.
            bits: bitwidth.
        """

    def network(self, model: nn.Module, swap_layers: Callable[[], nn.Module]) -> nn.Module:
        """The plain network with quantized layers."""
        return swap_layers()

    def weight_key(self, layer: str) -> str:
        """As in the plain network."""
        return f"{layer}.weight"

    def quantized_weight(self, layer: nn.Module) -> Tensor:
        """By the layer itself."""
        assert isinstance(layer, QuantizedLayer)
        return layer.quantized_weight()

    def weight_grid(self, layer: nn.Module) -> WeightGrid | None:
        """By the layer itself."""
        assert isinstance(layer, QuantizedLayer)
        return layer.weight_grid()

    def hold_quantized(self, layer: nn.Module) -> None:
        """By the layer itself."""
        assert isinstance(layer, QuantizedLayer)
        layer.hold_quantized()


_QUANTIZERS: dict[str, Quantizer] = {}

Q = TypeVar("Q", bound=Quantizer)


def register(quantizer: Q) -> Q:
    """Make a quantizer known by its name, and return it.

    Raises:
        SBSError: another quantizer has this name.
    """
    known = _QUANTIZERS.setdefault(quantizer.name, quantizer)
    if type(known) is not type(quantizer):
        raise SBSError(f"two quantizers are called {quantizer.name!r}; rename one of them")
    return quantizer


def get_quantizer(name: str) -> Quantizer:
    """The quantizer of a name.

    Raises:
        SBSError: there is none.
    """
    if name not in _QUANTIZERS:
        known = ", ".join(sorted(_QUANTIZERS))
        raise SBSError(f"policy: quantizer: {name!r} is not known; take one of {known}")
    return _QUANTIZERS[name]
