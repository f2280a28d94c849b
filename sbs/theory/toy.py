"""The toy regression of section 3.4: quantized weights learned on one path (SBS) or K (DNAS).

The data are 10,000 pairs ``y = w* x + Δ`` with x ~ N(0, I_10), w* ~ U[0, 1]^10, Δ ~ N(0, 1). Both
schemes minimise the mean squared error of their quantized weights (Eq. 15), for all seeds at once.

The paper does not give the optimizer, the learning rate or the initial weights. Chosen here: plain
gradient descent on all data; several learning rates; all weights start at the same point of
[0, 1]^10, thresholds and logits at 0, as in the method itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sbs.policy import Bitwidths
from sbs.quantization.bit_sharing import decompose, recompose
from sbs.quantization.gates import binary_gate
from sbs.quantization.uniform import discretize

SAMPLES, DIMENSIONS = 10_000, 10
ITERATIONS = 500
BITWIDTHS = Bitwidths((2, 4, 8))


@dataclass(frozen=True)
class Regression:
    """Second moments of the data of S seeds; the squared error depends on nothing else.

    Attributes:
        gram: ``X'X / N`` (S, d, d).
        cross: ``X'y / N`` (S, d).
        power: ``y'y / N`` (S).
        start: initial weights (S, d).
        noise: seed of the Gumbel noise.
    """

    gram: Tensor
    cross: Tensor
    power: Tensor
    start: Tensor
    noise: int

    def loss(self, w: Tensor) -> Tensor:
        """Mean squared error (..., S) of weights (..., S, d)."""
        quadratic = torch.einsum("...si,sij,...sj->...s", w, self.gram, w)
        return quadratic - 2 * (self.cross * w).sum(-1) + self.power


def draw(seeds: Sequence[int]) -> Regression:
    """Data of section 3.4, one set per seed."""
    parts = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(SAMPLES, DIMENSIONS, generator=generator, dtype=torch.float64)
        best = torch.rand(DIMENSIONS, generator=generator, dtype=torch.float64)
        y = x @ best + torch.randn(SAMPLES, generator=generator, dtype=torch.float64)
        start = torch.rand(DIMENSIONS, generator=generator, dtype=torch.float64)
        parts.append((x.T @ x / SAMPLES, x.T @ y / SAMPLES, y @ y / SAMPLES, start))
    gram, cross, power, start = (torch.stack(part) for part in zip(*parts, strict=True))
    return Regression(gram, cross, power, start, noise=sum(seeds))


class SinglePath:
    """SBS: one weight vector per seed, with gates on its offsets (first line below Eq. 15)."""

    def __init__(self, problem: Regression) -> None:
        self.weights = problem.start.clone().requires_grad_()
        gates = len(BITWIDTHS) - 1
        self.thresholds = torch.zeros(gates, len(problem.start), dtype=torch.float64)
        self.thresholds.requires_grad_()

    def parameters(self) -> list[Tensor]:
        """Parameters to optimize."""
        return [self.weights, self.thresholds]

    def quantized(self, progress: float) -> Tensor:
        """Quantized weights w_L (S, d)."""
        z = self.weights.clamp(0, 1)
        residuals = [(z - discretize(z, low)).abs().mean(-1) for low in BITWIDTHS[:-1]]
        gates = binary_gate(torch.stack(residuals).detach(), self.thresholds)
        return recompose(*decompose(z, BITWIDTHS), gates.unsqueeze(-1))


class MultiPath:
    """DNAS: a mixture of one weight vector per bitwidth (last line of Eq. 15)."""

    def __init__(self, problem: Regression, *, gumbel: bool) -> None:
        paths = len(BITWIDTHS)
        self.weights = problem.start.expand(paths, -1, -1).clone().requires_grad_()
        self.logits = torch.zeros(paths, len(problem.start), dtype=torch.float64)
        self.logits.requires_grad_()
        self._gumbel = gumbel
        self._generator = torch.Generator().manual_seed(problem.noise)

    def parameters(self) -> list[Tensor]:
        """Parameters to optimize."""
        return [self.weights, self.logits]

    def quantized(self, progress: float) -> Tensor:
        """Mixed weights w_D (S, d); with Gumbel noise, the temperature falls from 5 to 0.1."""
        logits = self.logits
        if self._gumbel:
            uniform = torch.rand(logits.shape, generator=self._generator, dtype=logits.dtype)
            logits = (logits - torch.log(-torch.log(uniform))) / (5.0 * 0.02**progress)
        mixture = torch.softmax(logits, dim=0)
        levels = zip(self.weights.clamp(0, 1), BITWIDTHS, strict=True)
        paths = torch.stack([discretize(z, bits) for z, bits in levels])
        return (mixture.unsqueeze(-1) * paths).sum(0)

    def chosen(self) -> Tensor:
        """Weights (S, d) of the path with the largest logit: the result of the search."""
        best = self.logits.argmax(0)
        levels = zip(self.weights.clamp(0, 1), BITWIDTHS, strict=True)
        paths = torch.stack([discretize(z, bits) for z, bits in levels])
        return paths[best, torch.arange(paths.shape[1])]


SCHEMES: dict[str, Callable[[Regression], SinglePath | MultiPath]] = {
    "SBS": SinglePath,
    "DNAS": lambda problem: MultiPath(problem, gumbel=False),
    "DNAS, Gumbel": lambda problem: MultiPath(problem, gumbel=True),
}


def descend(
    problem: Regression, scheme: str, learning_rate: float, iterations: int = ITERATIONS
) -> Tensor:
    """Losses (iterations + 1, S) of gradient descent; the last one is of the final weights.

    The final weights of a mixture are those of its best path, because a mixture is not a quantized
    vector.
    """
    model = SCHEMES[scheme](problem)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    losses = []
    for iteration in range(iterations):
        loss = problem.loss(model.quantized(iteration / (iterations - 1)))
        losses.append(loss.detach())
        optimizer.zero_grad()
        loss.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        last = model.chosen() if isinstance(model, MultiPath) else model.quantized(1.0)
        losses.append(problem.loss(last))
    return torch.stack(losses)


def best_quantized(problem: Regression, bits: int) -> Tensor:
    """Smallest loss (S) of any weights on the grid, by exhaustive search.

    If the grid has too many points, only those that can be best are searched. In coordinate i they
    are at most ``sqrt(e (G^-1)_ii)`` away from the least-squares solution w, where e is the excess
    loss of w rounded to the grid.
    """
    return torch.stack([_best_of_seed(problem, seed, bits) for seed in range(len(problem.start))])


def _best_of_seed(problem: Regression, seed: int, bits: int) -> Tensor:
    gram, cross = problem.gram[seed], problem.cross[seed]
    inverse = torch.linalg.inv(gram)
    optimum = inverse @ cross

    def excess(w: Tensor) -> Tensor:
        difference = w - optimum
        result: Tensor = ((difference @ gram) * difference).sum(-1)
        return result

    steps = 2**bits - 1
    rounded = discretize(optimum.clamp(0, 1), bits)
    reach = (excess(rounded) * inverse.diagonal()).sqrt() + 1e-12
    candidates = [
        torch.arange(max(0, int(torch.ceil(low))), min(steps, int(torch.floor(high))) + 1)
        for low, high in zip((optimum - reach) * steps, (optimum + reach) * steps, strict=True)
    ]
    best = excess(rounded)
    grid = [c.to(torch.float64) / steps for c in candidates]
    # All combinations of the last coordinates at once; those of the first five one by one.
    tail = torch.cartesian_prod(*grid[5:])
    for head in torch.cartesian_prod(*grid[:5]):
        points = torch.cat([head.expand(len(tail), -1), tail], dim=1)
        best = torch.minimum(best, excess(points).min())
    base: Tensor = problem.power[seed] - cross @ optimum
    return base + best
