"""HAQ: states, actions, the budget, rewards, and what an interruption leaves."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sbs.config.scale import Scale
from sbs.config.target import Target
from sbs.cost.exact import policy_cost
from sbs.cost.trace import trace_layers
from sbs.errors import SBSError
from sbs.methods.context import SearchContext
from sbs.methods.haq import HAQSettings
from sbs.methods.haq.agent import Agent, CentredReplay
from sbs.methods.haq.environment import Bits, PrecisionEnv
from sbs.methods.haq.search import Proposals
from sbs.networks import build_network
from sbs.policy import uniform_policy
from sbs.registry.methods import method
from tests.searches import context_of

IMAGE = (1, 8, 8)
SHAPES = trace_layers(build_network("resnet20", 10, 1), IMAGE)
CPU = torch.device("cpu")


def bit_operations(bits: Bits) -> float:
    macs = {shape.name: shape.macs for shape in SHAPES}
    return float(sum(macs[name] * w * a for name, (w, a) in bits.items()))


FOUR = bit_operations({shape.name: (4, 4) for shape in SHAPES[1:-1]})


def env_of(evaluate: Any = lambda bits: (0.0, 50.0), budget: float = FOUR) -> PrecisionEnv:
    return PrecisionEnv(SHAPES[1:-1], (2, 8), bit_operations, budget, evaluate)


@pytest.fixture
def context(default_scale: Scale, digits_file: Path, tmp_path: Path) -> SearchContext:
    short = {"episodes": 4, "warmup_episodes": 2, "images": 64}
    return context_of("haq", default_scale, digits_file, tmp_path, **short)


@pytest.mark.parametrize(
    ("action", "bits"), [(0.0, 2), (1.0, 8), (0.5, 5), (0.15, 3), (0.999, 8), (0.14, 2)]
)
def test_actions_share_out_the_bitwidths(action: float, bits: int) -> None:
    assert env_of().bits_of(action) == bits


def test_an_episode_takes_two_steps_a_layer_and_is_rewarded_at_its_end() -> None:
    seen: list[Bits] = []
    env = env_of(lambda bits: seen.append(bits) or (7.0, 60.0))
    state, _ = env.reset()
    assert state.shape == (10,)
    assert state[8:].tolist() == [1.0, 1.0]
    rewards = []
    for number in range(2 * len(SHAPES[1:-1])):
        state, reward, done, _, _ = env.step(np.array([0.0], np.float32))
        rewards.append(reward)
        assert env.observation_space.contains(state)
        if not done:
            assert state[8] == 2 / 8
            assert state[9] == float(number % 2 == 1)
    assert done
    assert rewards == [0.0] * (len(rewards) - 1) + [7.0]
    assert set(seen[0].values()) == {(2, 2)}


def test_states_describe_the_layers_on_a_common_scale() -> None:
    env = env_of()
    state, _ = env.reset()
    states = [state]
    for _ in range(2 * len(SHAPES[1:-1]) - 1):
        states.append(env.step(np.array([0.5], np.float32))[0])
    table = np.stack(states[::2])
    assert table.min() >= 0
    assert table.max() <= 1
    assert table[0, 7] == 0
    assert table[-1, 7] == 1
    # Filters grow from 16 to 64.
    assert table[0, 2] == 0
    assert table[-1, 2] == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 1.5))
def test_budget_is_kept_by_lowering_from_the_end(seed: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    bits = {s.name: tuple(map(int, generator.integers(2, 9, 2))) for s in SHAPES[1:-1]}
    env = env_of(budget=share * FOUR)
    found = env.within_budget(bits)  # type: ignore[arg-type]
    assert bit_operations(found) <= share * FOUR
    assert all(
        new <= old for name in bits for new, old in zip(found[name], bits[name], strict=True)
    )
    if found != bits:
        # One step less would not have been enough.
        raised = [
            {**found, name: tuple(b + (i == side) for i, b in enumerate(pair))}
            for name, pair in found.items()
            for side in (0, 1)
            if pair[side] < bits[name][side]
        ]
        assert any(bit_operations(other) > share * FOUR for other in raised)  # type: ignore[arg-type]


def test_rewards_lose_their_moving_average() -> None:
    env = env_of()
    buffer = CentredReplay(10, env.observation_space, env.action_space)
    state, action = np.zeros((1, 10), np.float32), np.zeros((1, 1), np.float32)
    for _ in range(10):
        buffer.add(state, state, action, np.array([3.0]), np.array([0.0]), [{}])
    assert float(buffer.sample(4).rewards.mean()) == 0
    buffer.baseline = 1.0
    assert float(buffer.sample(4).rewards.mean()) == pytest.approx(3 - 2)


def test_exploration_narrows_as_the_authors_do_whatever_the_length() -> None:
    authors = Agent(env_of(), episodes=600, warmup=20, seed=0)
    assert authors.deviation(20) == 0.5
    assert authors.deviation(21) == pytest.approx(0.5 * 0.99)
    short = Agent(env_of(), episodes=60, warmup=2, seed=0)
    assert short.deviation(59) == pytest.approx(authors.deviation(590))


def test_agent_learns_which_action_pays() -> None:
    env = PrecisionEnv(SHAPES[1:3], (2, 8), lambda bits: 0.0, 1.0, lambda bits: (0.0, 50.0))
    agent = Agent(env, episodes=120, warmup=20, seed=0)
    for episode in range(120):
        torch.manual_seed(episode)
        np.random.seed(episode)
        generator = torch.Generator().manual_seed(episode)
        state, _ = env.reset()
        states, actions, done = [], [], False
        while not done:
            states.append(state)
            actions.append(agent.action(state, episode, generator))
            state, _, done, _, _ = env.step(actions[-1])
        # The known answer: high actions.
        agent.remember(states, actions, state, float(np.mean(actions)))
        agent.learn(episode)
    chosen = [float(agent.model.predict(state, deterministic=True)[0][0]) for state in states]
    assert np.mean(chosen) > 0.75


@pytest.mark.parametrize("stop", [1, 3])
def test_search_keeps_the_budget_and_goes_on_after_an_interruption(
    context: SearchContext, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    # The warm-up takes two episodes: an interruption after the third must keep what was learnt.
    whole = method("haq").load()(context)
    assert whole.policy.quantizer == "linear"
    four = uniform_policy("resnet20", context.layer_names, 4)
    assert policy_cost(SHAPES, (), whole.policy, "bops") <= policy_cost(SHAPES, (), four, "bops")
    assert [episode["epoch"] for episode in whole.progression.history] == [1, 2, 3, 4]
    best = max(episode["reward"] for episode in whole.progression.history)

    for state in context.resume.glob("state-*"):
        state.unlink()
    measure, measured = Proposals.reward, []

    def interrupted(proposals: Proposals, bits: Bits) -> tuple[float, float]:
        if len(measured) == stop:
            raise KeyboardInterrupt
        measured.append(measure(proposals, bits))
        return measured[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Proposals, "reward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            method("haq").load()(context)
    resumed = method("haq").load()(context)
    assert resumed.policy == whole.policy
    assert resumed.progression.interruptions == 1
    for name in ("accuracy", "reward"):
        assert [e[name] for e in resumed.progression.history] == [
            e[name] for e in whole.progression.history
        ]
    assert max(episode["reward"] for episode in resumed.progression.history) == best

    [state] = context.resume.glob("state-*")
    state.write_text("{")
    with pytest.raises(SBSError, match="damaged"):
        method("haq").load()(context)


def test_an_agent_taken_back_acts_and_learns_as_the_one_before() -> None:
    env = env_of()
    one, other = (Agent(env, episodes=10, warmup=1, seed=seed) for seed in (0, 1))
    states = [np.full(10, n / 10, np.float32) for n in range(8)]
    actions = [np.array([n / 8], np.float32) for n in range(8)]

    def live(agent: Agent, episode: int) -> float:
        agent.remember(states, actions, states[-1], 1.0 + episode)
        np.random.seed(episode)
        agent.learn(episode)
        return float(agent.model.predict(states[0], deterministic=True)[0][0])

    for episode in (0, 1, 2):
        live(one, episode)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    assert [live(other, episode) for episode in (3, 4)] == [
        live(one, episode) for episode in (3, 4)
    ]


def test_a_budget_below_the_lowest_bits_is_refused_at_once(context: SearchContext) -> None:
    settings = context.settings.model_copy(update={"target": Target.parse("0.9 x 2-bit")})
    with pytest.raises(SBSError, match=r"'0.9 x 2-bit'.* 2 bits .*give a larger target"):
        method("haq").load()(replace(context, settings=settings))


def test_a_short_training_takes_a_batch_in_parts(
    context: SearchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = context.runtime.model_copy(update={"accumulation": 3})
    proposals = Proposals(replace(context, runtime=runtime), context.section(HAQSettings))
    bits = {shape.name: (8, 8) for shape in SHAPES[1:-1]}
    model, sizes = proposals.network(bits), list[int]()
    model.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    monkeypatch.setattr(proposals, "network", lambda _: model)
    assert 0 < proposals.accuracy(bits) <= 100
    assert sizes == [22, 21, 21]


def test_reward_is_the_change_of_accuracy(context: SearchContext) -> None:
    proposals = Proposals(context, context.section(HAQSettings))
    bits = {shape.name: (8, 8) for shape in SHAPES[1:-1]}
    reward, accuracy = proposals.reward(bits)
    assert reward == pytest.approx(0.1 * (accuracy - proposals.full_accuracy))
    assert proposals.accuracy(bits) == accuracy
