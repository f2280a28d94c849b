"""The paper's theoretical statements, each with its check: cases, failures and margin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pandas as pd

from sbs.theory import checks
from sbs.theory.checks import HIGHEST, NOT_NESTING, SIZES, WHOLE_GRIDS_TO, Outcome


def table() -> pd.DataFrame:
    """All checks: ``statement``, ``checked``, ``holds`` and the fields of an outcome.

    ``holds`` says whether the text of ``statement`` is true. Two rows state that something fails;
    their ``failures`` show this. :func:`sbs.theory.convergence.claims` has the statements that are
    measured on the toy regression.
    """
    rows = []
    for statement, checked, check, expect_failures in STATEMENTS:
        outcome = check()
        holds = (outcome.failures > 0) == expect_failures
        rows.append({"statement": statement, "checked": checked, "holds": holds} | vars(outcome))
    return pd.DataFrame(rows)


Check: TypeAlias = Callable[[], Outcome]
STATEMENTS: list[tuple[str, str, Check, bool]] = [
    (
        "Lemma 1: z_high = z_low + r_high",
        f"rationals: every grid point and tie of all nesting pairs to {WHOLE_GRIDS_TO} bits",
        checks.lemma_1,
        False,
    ),
    (
        "Theorem 1: z_bK = z_b1 + all offsets",
        f"rationals: every grid point and tie of all nesting sequences to {WHOLE_GRIDS_TO} bits; "
        f"ties and random points of random ones to {HIGHEST}",
        checks.theorem_1,
        False,
    ),
    (
        "Theorem 1 in single precision, but within rounding error of ties",
        "random points and every tie of {2,4,8}, {3,6,12}, {1,2,4,8,16}",
        checks.theorem_1_in_floats,
        False,
    ),
    (
        "Rounding half to even breaks Theorem 1",
        "as Theorem 1",
        checks.theorem_1_half_to_even,
        True,
    ),
    (
        "A sequence that does not nest breaks Theorem 1, and is refused",
        "rationals: every grid point and tie of " + ", ".join(map(str, NOT_NESTING)),
        checks.theorem_1_without_nesting,
        True,
    ),
    (
        "Lemma 2: the error never grows with the bitwidth",
        f"rationals: every grid point and tie of all nesting pairs to {WHOLE_GRIDS_TO} bits",
        checks.lemma_2,
        False,
    ),
    (
        "Corollary 1: the error changes by at most C / (2^bK - 1)",
        f"rationals: all nesting pairs of 2 to {HIGHEST} bits; random vectors of "
        f"{', '.join(map(str, SIZES))} elements, vectors near zero, of ties and of ones",
        checks.corollary_1,
        False,
    ),
    (
        "Corollary 1 with the least constant, (1 - s_high / s_low) C / 2",
        "as Corollary 1",
        checks.corollary_1_sharp,
        False,
    ),
    ("Eq. K: 4.3e34 policies for ResNet-18", "exact integers", checks.equation_k, False),
    (
        "Section 3.4: a single path saves (K - 1) / K of the searched layers' weights",
        "all networks with K = 3",
        checks.single_path,
        False,
    ),
]
