"""The paper's statements: exact arithmetic against brute force, the toy against known answers."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sbs.errors import SBSError
from sbs.plots.theory import draw_convergence, draw_error_bound
from sbs.policy import Bitwidths
from sbs.theory import checks, convergence, error_bound, exact, sizes, statements, studies, toy
from sbs.theory.search_space import choices, equation_k, resnet18_by_the_paper
from tests.costs import layers_of, prunables_of

FRACTIONS = st.builds(
    lambda top, bottom: Fraction(min(top, bottom), bottom),
    st.integers(0, 10**6),
    st.integers(1, 10**6),
)


@st.composite
def sequences(draw: st.DrawFn) -> Bitwidths:
    """Nesting sequences of any length up to 32 bits."""
    bits = [draw(st.integers(1, 8))]
    while bits[-1] <= 16 and draw(st.booleans()):
        bits.append(bits[-1] * draw(st.integers(2, 32 // bits[-1])))
    return Bitwidths(bits)


@settings(deadline=None)
@given(sequences(), FRACTIONS)
def test_theorem_1_and_lemmas_for_any_sequence_and_point(
    bits: tuple[int, ...], z: Fraction
) -> None:
    assert exact.theorem_1(z, bits)
    for low, high in pairwise(bits):
        assert exact.lemma_1(z, low, high)
        assert exact.lemma_2(z, low, high) >= 0


@settings(deadline=None)
@given(sequences(), st.data())
def test_theorem_1_at_ties(bits: tuple[int, ...], data: st.DataObject) -> None:
    steps = 2 ** data.draw(st.sampled_from(bits)) - 1
    assert exact.theorem_1(Fraction(2 * data.draw(st.integers(0, steps - 1)) + 1, 2 * steps), bits)


def test_mismatches_of_half_to_even_are_as_known() -> None:
    """126 of 511 and 2044 of 8191 points, counted independently of this code."""
    for bits, mismatches, points in (((2, 4, 8), 126, 511), ((3, 6, 12), 2044, 8191)):
        found = [exact.theorem_1(z, bits, exact.half_to_even) for z in exact.critical_points(bits)]
        assert (found.count(False), len(found)) == (mismatches, points)


@settings(deadline=None)
@given(
    st.sampled_from([(2, 4), (3, 6), (2, 8), (5, 10), (16, 32)]),
    st.lists(FRACTIONS.filter(bool), min_size=1, max_size=20),
)
def test_corollary_1_with_its_least_constant(bits: tuple[int, int], z: list[Fraction]) -> None:
    assert exact.corollary_1(z, *bits) <= exact.sharp_constant(*bits) < Fraction(1, 2)


@pytest.mark.parametrize("bits", [(2, 4), (3, 6), (2, 8)])
def test_the_least_constant_is_reached_at_a_tie(bits: tuple[int, int]) -> None:
    tie = Fraction(1, 2 * (2 ** bits[0] - 1))
    assert exact.corollary_1([tie], *bits) == exact.sharp_constant(*bits)


def test_the_table_of_statements_comes_out_true() -> None:
    table = statements.table()
    assert table["holds"].all()
    assert table["cases"].gt(0).all()
    breaks = table.set_index("statement")["failures"]
    assert breaks["Rounding half to even breaks Theorem 1"] > 0
    assert breaks["Theorem 1: z_bK = z_b1 + all offsets"] == 0


def test_a_wrong_statement_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "sharp_constant", lambda low, high: Fraction(1, 5))
    assert checks.corollary_1_sharp().failures > 0
    monkeypatch.setattr(checks, "NOT_NESTING", [(2, 4)])
    with pytest.raises(AssertionError, match="refused"):
        checks.theorem_1_without_nesting()


def test_error_bound_holds_for_every_seed_and_bitwidth() -> None:
    table = error_bound.table()
    assert (table["change"] <= table["bound"]).all()
    assert sorted(set(table["bits"])) == [2, 4, 8, 16]
    assert table["seed"].nunique() == 5
    assert draw_error_bound(table).axes[0].get_xlabel() == "bitwidth b_K"


def test_search_space_of_resnet18_as_printed() -> None:
    assert resnet18_by_the_paper() == 9**18 * 2**58
    assert f"{resnet18_by_the_paper():.1e}" == "4.3e+34"


def test_real_choices_are_counted_by_enumeration() -> None:
    layers, prunables = layers_of("resnet20")[:4], prunables_of("resnet20")[:1]
    found = choices(layers, prunables, 3, 8)
    # Two searched layers; conv1 of the first block has 16 filters, two groups of 8.
    assert found["quantization"] == len(list(product(range(3), repeat=4)))
    assert found["pruning"] == len([kept for kept in product((0, 1), repeat=2) if any(kept)])
    assert found["both"] == found["quantization"] * found["pruning"]
    assert equation_k([16, 17], 3, 16) == 9 * 1 * 9 * 2


def test_packing_table_has_the_papers_example() -> None:
    table = sizes.packing().set_index("bits")
    assert table.loc[3].tolist() == [10, 2, 6.25]
    assert list(table.index) == [2, 3, 4, 6, 8, 12]


@pytest.fixture(scope="module")
def problem() -> toy.Regression:
    return toy.draw(range(3))


def test_loss_is_the_mean_squared_error() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(toy.SAMPLES, toy.DIMENSIONS, generator=generator, dtype=torch.float64)
    best = torch.rand(toy.DIMENSIONS, generator=generator, dtype=torch.float64)
    y = x @ best + torch.randn(toy.SAMPLES, generator=generator, dtype=torch.float64)
    w = torch.full((1, toy.DIMENSIONS), 0.3, dtype=torch.float64)
    want = ((y - x @ w[0]) ** 2).mean()
    torch.testing.assert_close(toy.draw([0]).loss(w)[0], want)


def test_best_quantized_weights_by_brute_force(problem: toy.Regression) -> None:
    """All 4^10 points of the 2-bit grid."""
    grid = torch.arange(4, dtype=torch.float64) / 3
    points = torch.cartesian_prod(*[grid] * toy.DIMENSIONS)
    found = toy.best_quantized(problem, 2)
    for seed in range(3):
        quadratic = ((points @ problem.gram[seed]) * points).sum(1)
        losses = quadratic - 2 * points @ problem.cross[seed] + problem.power[seed]
        torch.testing.assert_close(found[seed], losses.min())


def test_best_quantized_weights_improve_with_the_grid(problem: toy.Regression) -> None:
    coarse, middle, fine = (toy.best_quantized(problem, bits) for bits in toy.BITWIDTHS)
    assert (coarse >= middle).all()
    assert (middle >= fine).all()


def test_open_gates_and_a_hard_mixture_quantize_at_the_highest_bitwidth(
    problem: toy.Regression,
) -> None:
    single, multi = toy.SinglePath(problem), toy.MultiPath(problem, gumbel=False)
    want = toy.discretize(problem.start, toy.BITWIDTHS[-1])
    torch.testing.assert_close(single.quantized(0.0).detach(), want)
    with torch.no_grad():
        multi.logits[-1] = 100.0
    torch.testing.assert_close(multi.quantized(0.0).detach(), want)
    torch.testing.assert_close(multi.chosen().detach(), want)


@pytest.mark.parametrize("scheme", list(toy.SCHEMES))
def test_descent_ends_near_the_best(problem: toy.Regression, scheme: str) -> None:
    losses = toy.descend(problem, scheme, 0.1)
    assert losses.shape == (toy.ITERATIONS + 1, 3)
    excess = losses[-1] - toy.best_quantized(problem, 8)
    assert (excess >= -1e-12).all()
    assert (excess < 0.05).all()


def test_iterations_and_roughness_of_known_curves() -> None:
    falling = torch.tensor([4.0, 2.0, 1.005, 1.0])
    rough = torch.tensor([4.0, 2.0, 3.0, 1.0])
    curves = torch.stack([falling, rough], dim=1)
    assert convergence.iterations_to_converge(curves).tolist() == [2, 3]
    assert convergence.roughness(curves).tolist() == [0.0, 0.25]


def test_claims_count_the_seeds_that_contradict_them() -> None:
    seeds, rates = range(2), (0.1,)
    numbers = convergence.summary(seeds, rates)
    ends = pd.DataFrame(
        {"scheme": list(toy.SCHEMES), "curve": [0.0, 0.5, 0.0], "final": [0.0, 0.0, 0.2]}
    )
    table = convergence.claims(numbers, ends).set_index("statement")
    faster = table.loc["Section 3.4: SBS converges faster than DNAS"]
    assert (faster["cases"], faster["failures"]) == (2, 0)
    limits = table[table.index.str.startswith("Proposition 1")]
    assert limits["holds"].tolist() == [False, True, True, False]
    assert limits["margin"].tolist() == [0.5, 0.0, 0.0, 0.2]


def test_curves_are_drawn_a_panel_a_rate() -> None:
    curves = convergence.curves(range(2), (0.1, 0.3))
    assert len(curves) == 2 * len(toy.SCHEMES) * toy.ITERATIONS
    figure = draw_convergence(curves, 2)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["learning rate 0.1", "learning rate 0.3", "", ""]
    assert (curves["excess_low"] <= curves["excess_high"]).all()


def test_an_unknown_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SBSError, match="unknown study 'fig9'"):
        studies.write("fig9", tmp_path / "x.csv")
    studies.write("packing", tmp_path / "x.csv")
    assert len(pd.read_csv(tmp_path / "x.csv")) == 6
