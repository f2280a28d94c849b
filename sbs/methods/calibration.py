"""Ranges of HAQ's linear quantizers, from the weights and from one batch of activations."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from sbs.layers import QuantConv2d, QuantLinear
from sbs.peer_quantizers import kl_threshold
from sbs.policy import Policy
from sbs.surgery import leaf_layers

FEWEST_BITS_BY_PEAK = 5
"""From so many bits on a range reaches to the largest value; below, by divergence."""

SAMPLE = 100_000
"""Activations of a layer that calibration looks at."""


class Calibration:
    """Ranges of every layer at every bitwidth, each worked out once."""

    def __init__(self, model: nn.Module, images: Tensor, signed: frozenset[str]) -> None:
        """Run the plain network once.

        Args:
            model: the plain network; left as it is.
            images: a batch (N, C, H, W).
            signed: layers whose input can be negative.
        """
        layers = leaf_layers(model)
        self._signed = signed
        self._values = {("weights", name): layer.weight.detach() for name, layer in layers.items()}
        self._ranges: dict[tuple[str, str, int], float] = {}
        handles = [
            layer.register_forward_pre_hook(partial(self._note, name))
            for name, layer in layers.items()
        ]
        training = model.training
        with torch.no_grad():
            model.eval()(images)
        model.train(training)
        for handle in handles:
            handle.remove()

    def range(self, side: Literal["weights", "input"], name: str, bits: int) -> float:
        """Range of one tensor's quantizer."""
        key = (side, name, bits)
        if key not in self._ranges:
            values = self._values[side, name]
            symmetric = side == "weights" or name in self._signed
            levels = (1 << (bits - 1 if symmetric else bits)) - 1
            by_peak = bits >= FEWEST_BITS_BY_PEAK
            found = float(values.abs().max()) if by_peak else kl_threshold(values, levels)
            self._ranges[key] = max(found, 1e-3)
        return self._ranges[key]

    @torch.no_grad()
    def apply(self, model: nn.Module, policy: Policy) -> None:
        """Set the intervals of a quantized network; those of weights do not learn."""
        for name, layer in model.named_modules():
            if isinstance(layer, QuantConv2d | QuantLinear):
                chosen = policy.layers[name]
                layer.weight_interval.fill_(self.range("weights", name, chosen.weight_bits))
                layer.activation_interval.fill_(self.range("input", name, chosen.activation_bits))

    def _note(self, name: str, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        values = args[0].detach().flatten()
        self._values["input", name] = values[:: max(1, len(values) // SAMPLE)].clone()
