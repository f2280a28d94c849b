"""Networks with one path per candidate bitwidth: the multi-path scheme (Fig. 1a, DNAS [87]).

Every path has its own weights. The output of a layer is a mixture of the outputs of its paths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sbs.kernels import fused as kernels
from sbs.kernels.convolution import conv2d
from sbs.nn.layers import LayerOptions, initial_weight_interval


class QuantizedPath(nn.Module):
    """One path: its own weights and intervals, and one bitwidth for weights and input."""

    def __init__(self, weight: Tensor, bits: int, options: LayerOptions) -> None:
        """Copy the weights of the plain layer.

        Args:
            weight: weights of the plain layer.
            bits: bitwidth of weights and input.
            options: sign of the input, weight normalisation and quantizer of the layer.
        """
        super().__init__()
        self.bits, self.options = bits, options
        self.weight = nn.Parameter(weight.detach().clone(memory_format=torch.preserve_format))
        if options.quantizer.learns_weight_interval:
            self.weight_interval: Tensor = nn.Parameter(initial_weight_interval(weight, options))
        else:
            self.register_buffer("weight_interval", weight.new_ones(()), persistent=False)
        self.activation_interval = nn.Parameter(weight.new_ones(()))

    def normalized_weight(self) -> Tensor:
        """Weights before quantization."""
        weight: Tensor = self.weight
        return kernels.standardize(weight, None) if self.options.standardize_weights else weight

    def quantized_weight(self) -> Tensor:
        """Weights (O, I, k, k) at the path's bitwidth."""
        quantizer = self.options.quantizer
        weight = self.normalized_weight()
        return quantizer.fake_quantize_weight(weight, self.weight_interval, self.bits)

    def quantized_input(self, x: Tensor) -> Tensor:
        """Input (N, I, H, W) at the path's bitwidth."""
        options = self.options
        return options.quantizer.fake_quantize_input(
            x, self.activation_interval, self.bits, signed=options.signed_input
        )


class MultiPathConv2d(nn.Module):
    """Convolution whose output is ``sum_k m_k conv(Q_k(x), Q_k(w_k))``."""

    def __init__(self, layer: nn.Conv2d, paths: Sequence[QuantizedPath]) -> None:
        """Copy stride, padding and groups of ``layer``; all paths start with equal probability."""
        super().__init__()
        self._paths = tuple(paths)
        self.paths = nn.ModuleList(paths)
        self.bits = tuple(path.bits for path in paths)
        self.logits = nn.Parameter(layer.weight.new_zeros(len(paths)))
        self.bias = layer.bias
        self.stride, self.padding = layer.stride, layer.padding
        self.dilation, self.groups = layer.dilation, layer.groups
        self.mixture = torch.full_like(self.logits, 1 / len(paths)).detach()

    def each_path(self) -> tuple[QuantizedPath, ...]:
        """The paths, in ascending order of their bitwidths."""
        return self._paths

    def sample(self, temperature: float) -> None:
        """Draw the mixture for this step: a Gumbel softmax of the logits."""
        self.mixture = F.gumbel_softmax(self.logits, tau=temperature)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, I, H, W) to (N, O, H', W').

        There is one convolution per path, and the outputs are summed in place, so only the sum is
        stored. One convolution over the concatenated inputs gives the same, but is up to three
        times slower.
        """
        total: Tensor | None = None
        for path, part in zip(self._paths, self.mixture.unbind(), strict=True):
            weight = path.quantized_weight() * part
            output = self._convolve(path.quantized_input(x), weight)
            total = output if total is None else total.add_(output)
        assert total is not None
        return total if self.bias is None else total + self.bias.view(1, -1, 1, 1)

    def choose(self, path: int) -> None:
        """Use only this path."""
        self.mixture = torch.zeros_like(self.mixture)
        self.mixture[path] = 1

    def chosen_state(self, path: int) -> dict[str, Tensor]:
        """Weights and intervals of one path, under the names of a quantized layer."""
        state = dict(self._paths[path].named_parameters())
        return state | ({} if self.bias is None else {"bias": self.bias})

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        places = self.stride, self.padding, self.dilation
        return conv2d(x, weight, None, *places, self.groups)  # type: ignore[arg-type]


MakePaths: TypeAlias = Callable[[nn.Conv2d, str], Sequence[QuantizedPath]]
"""(convolution, name of the convolution) -> paths of the convolution."""


def multipath_layers(
    model: nn.Module, searched: Sequence[str], make_paths: MakePaths
) -> dict[str, MultiPathConv2d]:
    """Replace the named convolutions by multi-path ones, in place."""
    layers: dict[str, MultiPathConv2d] = {}
    for name in searched:
        plain = model.get_submodule(name)
        assert isinstance(plain, nn.Conv2d)
        layers[name] = MultiPathConv2d(plain, make_paths(plain, name))
        model.set_submodule(name, layers[name])
    return layers
