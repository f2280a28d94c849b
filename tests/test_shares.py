"""What a search has found: shares of open gates, the policy, landing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sbs.methods.penalty import BAND
from sbs.methods.single_path.landing import land
from sbs.methods.single_path.shares import OpenShares
from sbs.policy import uniform_policy
from sbs.surgery.search import SearchSpace
from tests.devices import DEVICE
from tests.gated import NAMES, exact, space_of

pytestmark = pytest.mark.device


def shares_at_random(space: SearchSpace) -> OpenShares:
    shares = OpenShares(space, window=10)
    for name, mean in vars(shares.mean).items():
        drawn = torch.rand_like(mean)
        # As in a search: no gate is open more often than the one before it.
        mean.copy_(drawn if name == "groups" else drawn.sort(dim=1, descending=True).values)
    return shares


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.15, 0.95))
def test_landing_never_exceeds_the_target_and_stays_in_the_band(seed: int, share: float) -> None:
    """From any state of the gates, for any target between the cheapest and the open network."""
    torch.manual_seed(seed)
    space = space_of()
    shares = shares_at_random(space)
    target = share * exact(space, uniform_policy("resnet20", NAMES, 8))
    landing = land(shares, target, lambda found: exact(space, found))
    assert (1 - BAND) * target <= exact(space, landing.policy) <= target
    inside = (1 - BAND) * target <= exact(space, shares.policy()) <= target
    assert (landing.flips == 0) == inside
    if inside:
        assert landing.policy == shares.policy()


def test_landing_flips_the_least_decided_gates() -> None:
    space = space_of()
    shares = OpenShares(space, window=10)
    for mean in vars(shares.mean).values():
        mean.fill_(0.9)
    searched = [name for name, side, _ in space.bit_gates() if side == "weight_bits"]
    shares.mean.weight_bits[searched.index("layer2.1.conv2"), 1] = 0.6
    full = exact(space, uniform_policy("resnet20", NAMES, 8))
    landing = land(shares, full - 1, lambda found: exact(space, found))
    assert landing.flips == 1
    assert landing.policy.layers["layer2.1.conv2"].weight_bits == 4
    shares.mean.groups[5] = 0.55  # of layer1.1.conv1, the second of its four groups
    landing = land(shares, full - 1, lambda found: exact(space, found))
    assert landing.flips == 1
    kept = landing.policy.layers["layer1.1.conv1"].kept
    assert kept is not None
    assert set(range(16)) - set(kept) == {4, 5, 6, 7}


@pytest.mark.parametrize(
    ("window", "closed", "bits"),
    [(3, (), 8), (3, (3, 4), 8), (3, (1, 2, 3, 4), 4), (0, (1, 2, 3, 4), 8)],
)
def test_the_policy_has_the_gates_that_were_open_in_most_steps(
    window: float, closed: tuple[int, ...], bits: int
) -> None:
    """Here the gate to 8 bits of one tensor, which is open in the last step."""
    space = space_of()
    shares = OpenShares(space, window)
    gate = space.layers["layer1.0.conv1"].weight_gate
    assert gate is not None
    for number in range(6):
        gate.gates = torch.tensor([1.0, float(number not in closed)], device=DEVICE)
        shares.update(space.state())
    assert shares.policy().layers["layer1.0.conv1"].weight_bits == bits


def test_a_gate_behind_a_closed_one_counts_as_closed() -> None:
    space = space_of()
    shares = OpenShares(space, window=1)
    gate = space.layers["layer1.0.conv1"].activation_gate
    assert gate is not None
    gate.gates = torch.tensor([0.0, 1.0], device=DEVICE)
    shares.update(space.state())
    assert shares.mean.activation_bits[0].tolist() == [0.0, 0.0]
    assert shares.policy().layers["layer1.0.conv1"].activation_bits == 2


def test_shares_by_layer_and_after_a_resume() -> None:
    space = space_of()
    shares = shares_at_random(space)
    found = shares.by_layer()
    assert found["weight_bits"]["layer1.0.conv1"] == pytest.approx(
        shares.mean.weight_bits[0].tolist(), abs=1e-4
    )
    assert [len(groups) for groups in found["groups"].values()] == [4] * 3 + [8] * 3 + [16] * 3
    resumed = OpenShares(space_of(), window=10)
    resumed.load_state_dict(shares.state_dict())
    assert resumed.by_layer() == found
    assert resumed.policy() == shares.policy()


def test_some_group_is_always_kept() -> None:
    space = space_of()
    shares = OpenShares(space, window=10)
    shares.mean.groups.uniform_(0, 0.4)
    shares.mean.groups[:4] = torch.tensor([0.1, 0.4, 0.3, 0.2], device=DEVICE)
    assert shares.policy().layers["layer1.0.conv1"].kept == (4, 5, 6, 7)


def test_with_one_candidate_every_policy_has_it() -> None:
    space = space_of(bitwidths=(4,))
    found = OpenShares(space, window=10).policy()
    searched = {name for name, _, _ in space.bit_gates()}
    assert searched
    assert {found.layers[name].weight_bits for name in searched} == {4}
    assert {found.layers[name].activation_bits for name in searched} == {4}
    target = 0.9 * exact(space, found)
    landed = land(OpenShares(space, window=10), target, lambda policy: exact(space, policy))
    assert landed.flips > 0
    assert {landed.policy.layers[name].weight_bits for name in searched} == {4}
