"""The checks of the paper's theoretical statements, a function each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from sbs.errors import SBSError
from sbs.networks import get_spec
from sbs.nn.layers import LayerOptions
from sbs.nn.multipath import QuantizedPath, multipath_layers
from sbs.policy import Bitwidths
from sbs.quantization.bit_sharing import decompose
from sbs.quantization.uniform import discretize, num_steps
from sbs.registry.networks import networks
from sbs.theory import exact
from sbs.theory.search_space import resnet18_by_the_paper

WHOLE_GRIDS_TO = 10
"""Up to this bitwidth all grid points and ties are checked; above it, a sample."""

HIGHEST = 32
SAMPLES = 2000
FLOATS = 100_000
NOT_NESTING = [(2, 3), (2, 5), (3, 4), (4, 6), (2, 4, 6), (3, 8)]
SIZES = (1, 10, 100, 1000)
CANDIDATES = (2, 4, 8)


@dataclass(frozen=True)
class Outcome:
    """The result of a check.

    Attributes:
        cases: number of comparisons.
        failures: number of comparisons where the statement is false.
        margin: worst case, in the unit that ``of`` names.
        of: what the margin measures.
    """

    cases: int
    failures: int
    margin: float
    of: str


def nesting_sequences(highest: int) -> Iterator[tuple[int, ...]]:
    """All sequences of at least two nesting bitwidths, up to ``highest``."""

    def continued(sequence: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        for high in range(2 * sequence[-1], highest + 1, sequence[-1]):
            yield (*sequence, high)
            yield from continued((*sequence, high))

    for first in range(1, highest + 1):
        yield from continued((first,))


def lemma_1() -> Outcome:
    """Check every pair of neighbouring bitwidths in a nesting sequence."""
    cases = [
        exact.lemma_1(z, low, high)
        for low, high in nesting_sequences_of(2, WHOLE_GRIDS_TO)
        for z in exact.critical_points((high,))
    ]
    return Outcome(len(cases), cases.count(False), 0.0, "exact")


def theorem_1(rounding: exact.Rounding = exact.half_down) -> Outcome:
    """Check all grid points and ties of short sequences; ties and random points of long ones."""
    cases = [
        exact.theorem_1(z, sequence, rounding)
        for sequence in nesting_sequences(WHOLE_GRIDS_TO)
        for z in exact.critical_points((sequence[-1],))
    ]
    draw = random.Random(0)
    long = [sequence for sequence in nesting_sequences(HIGHEST) if sequence[-1] > WHOLE_GRIDS_TO]
    for _ in range(SAMPLES):
        sequence = draw.choice(long)
        steps = 2 ** draw.choice(sequence) - 1
        tie = Fraction(2 * draw.randrange(steps) + 1, 2 * steps)
        point = Fraction(draw.randrange(2**53), 2**53)
        cases += [exact.theorem_1(z, sequence, rounding) for z in (tie, point)]
    return Outcome(len(cases), cases.count(False), 0.0, "exact")


def theorem_1_half_to_even() -> Outcome:
    """The same check with the rounding of PyTorch."""
    return theorem_1(exact.half_to_even)


def theorem_1_without_nesting() -> Outcome:
    """Check sequences that :class:`sbs.policy.Bitwidths` refuses."""
    for sequence in NOT_NESTING:
        try:
            Bitwidths(sequence)
        except SBSError:
            continue
        raise AssertionError(f"{sequence} should have been refused")
    cases = [
        exact.theorem_1(z, sequence)
        for sequence in NOT_NESTING
        for z in exact.critical_points(sequence)
    ]
    return Outcome(len(cases), cases.count(False), 0.0, "exact")


def theorem_1_in_floats() -> Outcome:
    """Check in single precision: results may differ only within rounding error of a tie."""
    generator = torch.Generator().manual_seed(0)
    cases = failures = 0
    worst = 0.0
    for bits in ((2, 4, 8), (3, 6, 12), (1, 2, 4, 8, 16)):
        ties = [(torch.arange(num_steps(b)) + 0.5) / num_steps(b) for b in bits]
        z = torch.cat([torch.rand(FLOATS, generator=generator), *ties])
        base, offsets = decompose(z, Bitwidths(bits))
        different = (base + sum(offsets) - discretize(z, bits[-1])).abs() > 0.5 / num_steps(
            bits[-1]
        )
        distance = ulps_from_a_tie(z[different], bits)
        cases += len(z)
        failures += int((distance > 2).sum())
        worst = max(worst, float(distance.max()) if len(distance) else 0.0)
    return Outcome(cases, failures, worst, "units in the last place from a tie, at most")


def ulps_from_a_tie(z: Tensor, bitwidths: Sequence[int]) -> Tensor:
    """Distance of z from the nearest tie of any bitwidth, in units of the float32 epsilon."""
    z = z.double()
    distances = [((z * num_steps(b)) % 1 - 0.5).abs() / num_steps(b) for b in bitwidths]
    return torch.stack(distances).amin(0) / torch.finfo(torch.float32).eps


def lemma_2() -> Outcome:
    """Check that the error of an element never grows with the bitwidth."""
    gains = [
        exact.lemma_2(z, low, high)
        for low, high in nesting_sequences_of(2, WHOLE_GRIDS_TO)
        for z in exact.critical_points((high,))
    ]
    failures = sum(gain < 0 for gain in gains)
    return Outcome(len(gains), failures, float(min(gains)), "fall of an element's error, at least")


def corollary_1() -> Outcome:
    """Check random and adversarial vectors at bitwidths 2 to 32."""
    return _bounded(lambda low, high: Fraction(1))


def corollary_1_sharp() -> Outcome:
    """The same check with the smallest constant."""
    return _bounded(exact.sharp_constant)


def equation_k() -> Outcome:
    """Check the size that appendix E prints, to its two digits."""
    size = resnet18_by_the_paper()
    return Outcome(1, int(f"{size:.1e}" != "4.3e+34"), float(size), "policies")


def single_path() -> Outcome:
    """Compare the weights of every network with one path per bitwidth and with one path."""
    failures, saved = 0, []
    for name in networks():
        before, searched = _parameters_by_paths(name, 1)
        after, weights = _parameters_by_paths(name, len(CANDIDATES))
        failures += weights != len(CANDIDATES) * searched
        saved.append(1 - before / after)
    return Outcome(len(saved), failures, min(saved), "share of a whole network, at least")


def vectors(low: int) -> Iterator[list[Fraction]]:
    """Random vectors, and vectors that might violate Corollary 1 at a bitwidth."""
    draw = random.Random(low)
    for size in SIZES:
        yield [Fraction(draw.randrange(1, 2**53), 2**53) for _ in range(size)]
    steps = 2**low - 1
    yield [Fraction(draw.randrange(1, 2**53), 2**73) for _ in range(100)]  # near zero
    yield [Fraction(2 * draw.randrange(steps) + 1, 2 * steps) for _ in range(100)]  # ties
    yield [Fraction(1)] * 10


def nesting_sequences_of(length: int, highest: int) -> Iterator[tuple[int, ...]]:
    """Nesting sequences with ``length`` bitwidths."""
    return (s for s in nesting_sequences(highest) if len(s) == length)


def _parameters_by_paths(network: str, paths: int) -> tuple[int, int]:
    """Parameters of a network with this many paths per convolution, and weights in its paths."""
    spec = get_spec(network)
    with torch.device("meta"):
        model = spec.build(spec.classes, 3)
    convolutions = [n for n, layer in model.named_modules() if isinstance(layer, nn.Conv2d)]
    # The first convolution stays at 8 bits.
    layers = multipath_layers(
        model,
        convolutions[1:],
        lambda layer, name: [
            QuantizedPath(layer.weight, bits, LayerOptions(0, 0, signed_input=False))
            for bits in CANDIDATES[:paths]
        ],
    )
    weights = [
        parameter.numel()
        for layer in layers.values()
        for name, parameter in layer.named_parameters()
        if name.endswith(".weight")
    ]
    return sum(parameter.numel() for parameter in model.parameters()), sum(weights)


def _bounded(constant: Callable[[int, int], Fraction]) -> Outcome:
    shares = []
    for low, high in nesting_sequences_of(2, HIGHEST):
        if low >= 2:
            limit = constant(low, high)
            shares += [exact.corollary_1(z, low, high) / limit for z in vectors(low)]
    failures = sum(share > 1 for share in shares)
    return Outcome(len(shares), failures, float(max(shares)), "share of the bound, at most")
