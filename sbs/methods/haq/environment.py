"""HAQ's environment: an episode goes through the layers and chooses their bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from sbs.cost.layers import LayerShape

Bits = dict[str, tuple[int, int]]
"""Weight and activation bits of each searched layer."""

STATE_SIZE = 10
Vector = npt.NDArray[np.float32]


class PrecisionEnv(gymnasium.Env[Vector, Vector]):
    """Two steps per layer, first weights, then input; the reward comes at the end.

    A state has ten numbers in [0, 1]. Eight describe the layer, each scaled over all layers:
    whether it is depthwise, its input channels, filters, stride, kernel size, weights, input pixels
    and index. Then follow the previous action, as a share of the highest bitwidth, and 1 for
    weights or 0 for the input.
    """

    def __init__(
        self,
        shapes: Sequence[LayerShape],
        bit_range: tuple[int, int],
        cost_of: Callable[[Bits], float],
        budget: float,
        evaluate: Callable[[Bits], tuple[float, float]],
    ) -> None:
        """Store the arguments and compute the features of the layers.

        Args:
            shapes: the searched layers in forward order.
            bit_range: lowest and highest bitwidth.
            cost_of: cost of the chosen bits.
            budget: maximum cost; the bits are lowered until it holds.
            evaluate: reward of the chosen bits, and the accuracy it is based on.
        """
        self.shapes = list(shapes)
        self.low, self.high = bit_range
        self._cost_of, self._budget, self._evaluate = cost_of, budget, evaluate
        self._static = _scaled(np.array([_features(n, s) for n, s in enumerate(self.shapes)]))
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (STATE_SIZE,), np.float32)
        self.action_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
        self._chosen: list[int] = []

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Vector, dict[str, Any]]:
        """Start an episode at the weights of the first layer."""
        super().reset(seed=seed)
        self._chosen = []
        return self._state(), {}

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, dict[str, Any]]:
        """Choose the bits of one tensor; the last step applies the budget and evaluates."""
        self._chosen.append(self.bits_of(float(action[0])))
        if len(self._chosen) < 2 * len(self.shapes):
            return self._state(), 0.0, False, False, {}
        bits = self.within_budget(self._named())
        reward, accuracy = self._evaluate(bits)
        return self._state(), reward, True, False, {"bits": bits, "accuracy": accuracy}

    def bits_of(self, action: float) -> int:
        """Bitwidth of an action in [0, 1]; every bitwidth has an equal share of that range."""
        bits = round(action * (self.high - self.low + 1) + self.low - 0.5)
        return min(max(bits, self.low), self.high)

    def within_budget(self, bits: Bits) -> Bits:
        """Lower bits by one, from the last layer to the first, until the budget holds."""
        found = dict(bits)
        while self._cost_of(found) > self._budget:
            before = dict(found)
            for shape in reversed(self.shapes):
                weight, activation = found[shape.name]
                if activation > self.low:
                    found[shape.name] = (weight, activation - 1)
                if self._cost_of(found) <= self._budget:
                    return found
                weight, activation = found[shape.name]
                if weight > self.low:
                    found[shape.name] = (weight - 1, activation)
                if self._cost_of(found) <= self._budget:
                    return found
            if found == before:
                break
        return found

    def _named(self) -> Bits:
        pairs = zip(self._chosen[::2], self._chosen[1::2], strict=True)
        return {shape.name: pair for shape, pair in zip(self.shapes, pairs, strict=True)}

    def _state(self) -> Vector:
        taken = len(self._chosen)
        layer = min(taken // 2, len(self.shapes) - 1)
        previous = self._chosen[-1] / self.high if self._chosen else 1.0
        dynamic = [previous, float(taken % 2 == 0)]
        return np.concatenate([self._static[layer], dynamic]).astype(np.float32)


def _features(index: int, shape: LayerShape) -> list[float]:
    depthwise = shape.depthwise
    stride = round(shape.input_size[0] / shape.output_size[0])
    pixels = shape.input_size[0] * shape.input_size[1]
    return [
        float(depthwise),
        shape.in_channels,
        shape.out_channels,
        stride,
        shape.kernel[0],
        shape.weight_elements,
        pixels,
        index,
    ]


def _scaled(features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    low, high = features.min(axis=0), features.max(axis=0)
    scaled: npt.NDArray[np.float64] = (features - low) / np.where(high > low, high - low, 1.0)
    return scaled
