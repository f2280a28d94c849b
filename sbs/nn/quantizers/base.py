"""Base classes of the quantizers, and the registry of quantizers by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from sbs.errors import SBSError
from sbs.kernels.fused import QuantizerSpec
from sbs.quantization.grid import WeightGrid


class Quantizer(ABC):
    """How the network of a policy is quantized.

    Attributes:
        name: value of ``quantizer`` in ``policy.json``.
        own_layout: whether parameter names differ from the plain network; then the weights load
            only into the network of the policy.
    """

    name: ClassVar[str]
    own_layout: ClassVar[bool] = False

    @abstractmethod
    def network(
        self,
        model: nn.Module,
        swap_layers: Callable[[], nn.Module],
        signed_inputs: Collection[str],
    ) -> nn.Module:
        """Turn the plain network into the network of a policy, in place.

        Args:
            model: the plain network.
            swap_layers: prunes ``model`` and replaces its layers by ones with this quantizer.
            signed_inputs: names of the layers whose input can be negative.
        """

    @abstractmethod
    def weight_key(self, layer: str) -> str:
        """Name of a layer's weights in the state dict of the network."""

    @abstractmethod
    def quantized_weight(self, layer: nn.Module) -> Tensor:
        """Weights of a layer after quantization."""

    @abstractmethod
    def weight_grid(self, layer: nn.Module) -> WeightGrid | None:
        """Grid of the integer codes of a layer's weights; None at full precision."""

    @abstractmethod
    def hold_quantized(self, layer: nn.Module) -> None:
        """Prepare a layer for already quantized weights, as an exported file has them."""


@runtime_checkable
class QuantizedLayer(Protocol):
    """A layer that holds its quantizer (:mod:`sbs.nn.layers`)."""

    def quantized_weight(self) -> Tensor:
        """Weights after quantization."""
        ...

    def weight_grid(self) -> WeightGrid | None:
        """Grid of the integer codes of the weights; None at full precision."""
        ...

    def hold_quantized(self) -> None:
        """Use the weights unchanged from now on."""
        ...


class LayerQuantizer(Quantizer):
    """A quantizer that works layer by layer, at fixed bitwidths. A subclass defines 3 functions.

    Attributes:
        standardizes: whether weights are standardised before a batch norm that undoes the scale.
        learns_weight_interval: whether quantizing the weights uses their interval.
    """

    standardizes: ClassVar[bool] = False
    learns_weight_interval: ClassVar[bool] = True

    @abstractmethod
    def fake_quantize_weight(self, w: Tensor, interval: Tensor, bits: int) -> Tensor:
        """Quantize weights of any shape.

        Args:
            w: weights; standardised if :attr:`standardizes`.
            interval: the layer's scalar parameter ``weight_interval``.
            bits: bitwidth.
        """

    @abstractmethod
    def fake_quantize_input(
        self, x: Tensor, interval: Tensor, bits: int, *, signed: bool
    ) -> Tensor:
        """Quantize the input of a layer, of any shape.

        Args:
            x: values.
            interval: the layer's scalar parameter ``activation_interval``.
            bits: bitwidth.
            signed: whether the input can be negative.
        """

    def joined_spec(self, interval: Tensor, bits: int, *, signed: bool) -> QuantizerSpec | None:
        """The input's quantizer for a kernel that joins it with others; None if none can.

        Args:
            interval: the layer's scalar parameter ``activation_interval``.
            bits: bitwidth.
            signed: whether the input can be negative.
        """
        return None

    @abstractmethod
    def scale_and_offset(self, interval: Tensor, bits: int) -> tuple[float, float]:
        """Distance between neighbouring levels of the weights, and the lowest level.

        Args:
            interval: the layer's scalar parameter ``weight_interval``.
            bits: bitwidth.
        """

    def network(
        self,
        model: nn.Module,
        swap_layers: Callable[[], nn.Module],
        signed_inputs: Collection[str],
    ) -> nn.Module:
        """The plain network with quantized layers."""
        return swap_layers()

    def weight_key(self, layer: str) -> str:
        """The same name as in the plain network."""
        return f"{layer}.weight"

    def quantized_weight(self, layer: nn.Module) -> Tensor:
        """Weights of a layer after quantization, from the layer itself."""
        assert isinstance(layer, QuantizedLayer)
        return layer.quantized_weight()

    def weight_grid(self, layer: nn.Module) -> WeightGrid | None:
        """Grid of a layer's weights, from the layer itself."""
        assert isinstance(layer, QuantizedLayer)
        return layer.weight_grid()

    def hold_quantized(self, layer: nn.Module) -> None:
        """Prepare a layer for already quantized weights."""
        assert isinstance(layer, QuantizedLayer)
        layer.hold_quantized()


_QUANTIZERS: dict[str, Quantizer] = {}

Q = TypeVar("Q", bound=Quantizer)


def register(quantizer: Q) -> Q:
    """Register a quantizer under its name, and return it.

    Raises:
        SBSError: another quantizer has this name.
    """
    known = _QUANTIZERS.setdefault(quantizer.name, quantizer)
    if type(known) is not type(quantizer):
        raise SBSError(f"two quantizers are called {quantizer.name!r}; rename one of them")
    return quantizer


def get_quantizer(name: str) -> Quantizer:
    """The quantizer with this name.

    Raises:
        SBSError: the name is not registered.
    """
    if name not in _QUANTIZERS:
        known = ", ".join(sorted(_QUANTIZERS))
        raise SBSError(f"policy: quantizer: {name!r} is not known; use one of {known}")
    return _QUANTIZERS[name]
