"""HAQ's agent: DDPG from stable-baselines3, with HAQ's changes.

The DDPG of stable-baselines3 has no settings for four details of HAQ. They are added here:
exploration by a truncated normal around the action, instead of additive noise; the same reward for
all transitions of an episode; a moving average that is subtracted from the rewards; different
learning rates for actor and critic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3 import DDPG
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from sbs.methods.haq.environment import PrecisionEnv, Vector

HIDDEN = [300, 300]
ACTOR_RATE, CRITIC_RATE = 1e-4, 1e-3
TARGET_RATE = 0.01
BATCH = 64
REPLAY_PER_LAYER = 128
FIRST_DEVIATION, DEVIATION_DECAY = 0.5, 0.99
LEARNING_EPISODES = 580
"""Of the authors' 600 episodes. Shorter searches narrow exploration over the same share."""

BASELINE_DECAY = 0.5

REPLAYED = ("observations", "next_observations", "actions", "rewards", "dones")
"""Arrays of the replay buffer."""


class CentredReplay(ReplayBuffer):
    """Replay buffer that subtracts a moving average from the rewards."""

    baseline: float | None = None

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """Sample a batch; first update the average with its mean reward."""
        batch = super().sample(batch_size, env)
        mean = float(batch.rewards.mean())
        old = mean if self.baseline is None else self.baseline
        self.baseline = BASELINE_DECAY * old + (1 - BASELINE_DECAY) * mean
        return batch._replace(rewards=batch.rewards - self.baseline)


class HaqDDPG(DDPG):
    """DDPG with different learning rates for actor and critic."""

    def _update_learning_rate(self, optimizers: Any) -> None:
        for module, rate in ((self.actor, ACTOR_RATE), (self.critic, CRITIC_RATE)):
            for group in module.optimizer.param_groups:
                group["lr"] = rate


class Agent:
    """Acts, stores transitions and learns, episode by episode."""

    def __init__(self, env: PrecisionEnv, episodes: int, warmup: int, seed: int) -> None:
        """Set up the networks.

        Args:
            env: the environment.
            episodes: total number of episodes.
            warmup: first episodes, with uniformly random actions and without learning.
            seed: seed of the networks.
        """
        self.env, self.episodes, self.warmup = env, episodes, warmup
        self.steps = 2 * len(env.shapes)
        self.model = HaqDDPG(
            "MlpPolicy",
            env,
            buffer_size=REPLAY_PER_LAYER * len(env.shapes),
            batch_size=BATCH,
            tau=TARGET_RATE,
            gamma=1.0,
            replay_buffer_class=CentredReplay,
            policy_kwargs={"net_arch": HIDDEN},
            device="cpu",
            seed=seed,
        )
        self.model.set_logger(Logger(None, []))

    def action(self, state: Vector, episode: int, generator: torch.Generator) -> Vector:
        """An action in [0, 1]: random in the warm-up, then drawn around the actor's output."""
        if episode < self.warmup:
            return torch.rand(1, generator=generator).numpy()
        mean, _ = self.model.predict(state, deterministic=True)
        drawn = torch.empty(1)
        deviation = self.deviation(episode)
        torch.nn.init.trunc_normal_(drawn, float(mean[0]), deviation, 0.0, 1.0, generator)
        return drawn.numpy()

    def deviation(self, episode: int) -> float:
        """Standard deviation of the exploration after the warm-up."""
        passed = (episode - self.warmup) / max(1, self.episodes - self.warmup)
        return float(FIRST_DEVIATION * DEVIATION_DECAY ** (LEARNING_EPISODES * passed))

    def remember(
        self, states: list[Vector], actions: list[Vector], last: Vector, reward: float
    ) -> None:
        """Store an episode; every transition gets the reward of the episode."""
        buffer = self._replay
        for number, (state, action) in enumerate(zip(states, actions, strict=True)):
            final = number == len(states) - 1
            buffer.add(
                state[None],
                last[None] if final else states[number + 1][None],
                self.model.policy.scale_action(action)[None],
                _array(reward),
                _array(final),
                [{}],
            )

    def learn(self, episode: int) -> None:
        """After the warm-up: as many gradient steps as the episode had steps."""
        if episode >= self.warmup:
            self.model.train(gradient_steps=self.steps, batch_size=BATCH)

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizers and replay buffer: everything that acting and learning need."""
        buffer = self._replay
        return {
            "networks": self.model.policy.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "replay": {name: torch.from_numpy(getattr(buffer, name)) for name in REPLAYED},
            "position": (buffer.pos, buffer.full),
            "baseline": buffer.baseline,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.model.policy.load_state_dict(state["networks"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        buffer = self._replay
        for name, values in state["replay"].items():
            getattr(buffer, name)[...] = values.numpy()
        buffer.pos, buffer.full = state["position"]
        buffer.baseline = state["baseline"]

    @property
    def _replay(self) -> CentredReplay:
        buffer = self.model.replay_buffer
        assert isinstance(buffer, CentredReplay)
        return buffer

    @property
    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.model.actor.optimizer, self.model.critic.optimizer]


def _array(value: float) -> npt.NDArray[np.float32]:
    return np.array([value], dtype=np.float32)
