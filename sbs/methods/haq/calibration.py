"""Ranges of HAQ's linear quantizers, from the weights and one batch of activations."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from sbs.nn.layers import QuantLayer
from sbs.policy import Policy
from sbs.surgery.intervals import sample_inputs
from sbs.surgery.layers import leaf_layers

FEWEST_BITS_BY_PEAK = 5
"""From this bitwidth on, the range is the largest magnitude; below, it is found by divergence."""

SAMPLE = 100_000
"""Number of activations per layer that calibration uses."""


class Calibration:
    """Ranges of every layer at every bitwidth; each is computed once."""

    def __init__(self, model: nn.Module, images: Tensor, signed: frozenset[str]) -> None:
        """Run the plain network once.

        Args:
            model: the plain network; not changed.
            images: a batch (N, C, H, W).
            signed: layers whose input can be negative.
        """
        layers = leaf_layers(model)
        self._signed = signed
        self._values = {("weights", name): layer.weight.detach() for name, layer in layers.items()}
        self._peaks = {key: float(values.abs().max()) for key, values in self._values.items()}
        self._ranges: dict[tuple[str, str, int], float] = {}
        for name, sample in sample_inputs(model, images, SAMPLE).items():
            self._values["input", name], self._peaks["input", name] = sample.values, sample.peak

    def range(self, side: Literal["weights", "input"], name: str, bits: int) -> float:
        """Range of the quantizer of one tensor."""
        key = (side, name, bits)
        if key not in self._ranges:
            symmetric = side == "weights" or name in self._signed
            levels = (1 << (bits - 1 if symmetric else bits)) - 1
            if bits >= FEWEST_BITS_BY_PEAK:
                found = self._peaks[side, name]
            else:
                found = kl_threshold(self._values[side, name], levels)
            self._ranges[key] = max(found, 1e-3)
        return self._ranges[key]

    @torch.no_grad()
    def apply(self, model: nn.Module, policy: Policy) -> None:
        """Set the intervals of a quantized network; the weights' intervals get no gradient."""
        for name, layer in model.named_modules():
            if isinstance(layer, QuantLayer):
                chosen = policy.layers[name]
                layer.weight_interval.fill_(self.range("weights", name, chosen.weight_bits))
                layer.activation_interval.fill_(self.range("input", name, chosen.activation_bits))


def kl_threshold(values: Tensor, levels_above_zero: int) -> float:
    """The range whose quantized distribution of ``|values|`` has the smallest KL divergence.

    As in TensorRT's calibration, which HAQ follows. A histogram of the magnitudes has about
    sqrt(n) bins. It is cut after each bin in turn, and the counts beyond the cut are added to the
    last bin. The best cut has the smallest Kullback-Leibler divergence from its version with that
    many levels. Zeros are ignored: every grid contains them, and after a ReLU there are so many of
    them, all in the first bin, that the smallest cut would win.

    Args:
        values: a sample of any shape.
        levels_above_zero: number of grid levels on [0, t], without zero.

    Returns:
        t; 1 if all values are zero.
    """
    magnitudes = values.detach().abs().flatten().double().cpu().numpy()
    magnitudes = magnitudes[magnitudes > 0]
    if not magnitudes.size:
        return 1.0
    peak = float(magnitudes.max())
    bins = max(int(np.sqrt(magnitudes.size)), 4 * levels_above_zero)
    counts, edges = np.histogram(magnitudes, bins=bins, range=(0.0, peak))
    beyond = counts[::-1].cumsum()[::-1]
    best, threshold = np.inf, peak
    for cut in range(levels_above_zero + 1, bins + 1):
        reference = counts[:cut].astype(np.float64)
        reference[-1] += beyond[cut] if cut < bins else 0
        divergence = _divergence(reference, counts[:cut], levels_above_zero)
        if divergence < best:
            best, threshold = divergence, float(edges[cut])
    return threshold


def _divergence(reference: np.ndarray, counts: np.ndarray, levels_above_zero: int) -> float:
    """KL divergence of a histogram from its version on even levels; empty bins stay empty."""
    bins = len(counts)
    nearest = np.rint((np.arange(bins) + 0.5) / bins * levels_above_zero).astype(int)
    total = np.bincount(nearest, weights=counts, minlength=levels_above_zero + 1)
    filled = np.bincount(nearest, weights=counts > 0, minlength=levels_above_zero + 1)
    spread = total / np.maximum(filled, 1)
    quantized = np.where(counts > 0, spread[nearest], 0.0)
    p = reference / reference.sum()
    q = quantized / max(quantized.sum(), 1e-12)
    where = p > 0
    return float((p[where] * np.log(p[where] / np.maximum(q[where], 1e-12))).sum())
