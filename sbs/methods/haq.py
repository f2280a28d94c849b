"""HAQ (Wang et al. 2019): a DDPG agent chooses bits layer by layer within a budget.

Every policy that the agent proposes is calibrated, fine-tuned for an epoch on a few training
images, and rewarded by its accuracy there. The budget is enforced before that, by lowering bits
from the last layer on. The best policy of all episodes wins.

An interrupted search goes on by replaying its episodes with their recorded rewards: the agent's
own learning takes little time, and comes out the same.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD

from sbs.config import HAQSettings
from sbs.devices import autocast
from sbs.engine import Progression, state_path
from sbs.errors import SBSError
from sbs.methods.calibration import Calibration
from sbs.methods.context import SearchContext, SearchResult
from sbs.methods.haq_agent import Agent
from sbs.methods.haq_env import Bits, PrecisionEnv
from sbs.policy import LayerPolicy, Policy
from sbs.records import exclusive, write_text_atomically
from sbs.seeding import derive_seed, seed_everything
from sbs.surgery import plain_state, quantized_network

ENDS_BITS = 8
REWARD_SCALE = 0.1
"""Reward of a percentage point of accuracy."""

MOMENTUM, WEIGHT_DECAY = 0.9, 4e-5


def search(context: SearchContext) -> SearchResult:
    """Search by reinforcement."""
    settings = context.haq
    if settings is None:
        raise SBSError("--settings: missing section 'haq'")
    target = context.target_cost()
    if target is None:
        raise SBSError("search.target: HAQ enforces a budget; give one, such as '4-bit'")
    proposals = Proposals(context, settings)
    cost_of = context.exact_cost()
    with exclusive(context.resume):
        log = EpisodeLog(context)
        env = PrecisionEnv(
            context.shapes[1:-1],
            (settings.lowest_bits, settings.highest_bits),
            lambda bits: cost_of(proposals.policy(bits)),
            target,
            lambda bits: log.reward(bits, proposals.accuracy),
        )
        run_episodes(env, settings, context, log)
    best = max(log.episodes, key=lambda episode: float(episode["reward"]))
    bits = {name: (pair[0], pair[1]) for name, pair in best["bits"].items()}
    state = plain_state(proposals.network(bits))
    return SearchResult(proposals.policy(bits), state, target, log.progression())


def run_episodes(
    env: PrecisionEnv, settings: HAQSettings, context: SearchContext, log: EpisodeLog
) -> None:
    """Let the agent act and learn, episode after episode."""
    seed = derive_seed(context.seed, "agent") % 2**32
    agent = Agent(env, settings.episodes, settings.warmup_episodes, seed)
    for episode in range(settings.episodes):
        started = time.perf_counter()
        generator = torch.Generator().manual_seed(derive_seed(context.seed, "actions", episode))
        state, _ = env.reset()
        states, actions, done, reward = [], [], False, 0.0
        while not done:
            states.append(state)
            actions.append(agent.action(state, episode, generator))
            state, reward, done, _, _ = env.step(actions[-1])
        agent.remember(states, actions, state, reward)
        # The replay is drawn with NumPy's global generator; what came before must not matter.
        seed_everything(derive_seed(context.seed, "learning", episode))
        agent.learn(episode)
        log.complete(time.perf_counter() - started)
        latest = log.episodes[episode]
        context.reporter.line(
            f"episode {episode + 1}/{settings.episodes} accuracy {latest['accuracy']:.2f} "
            f"reward {latest['reward']:.3f} best {max(e['reward'] for e in log.episodes):.3f}"
        )


class Proposals:
    """Networks of proposed bits, and what a short fine-tuning says of them."""

    def __init__(self, context: SearchContext, settings: HAQSettings) -> None:
        """Choose the images, calibrate, and measure the full-precision network on them."""
        self.context, self.settings = context, settings
        generator = torch.Generator().manual_seed(derive_seed(context.seed, "images"))
        order = torch.randperm(context.batches.images, generator=generator)
        self.batches = context.batches.part(order[: settings.images])
        images, _ = next(iter(self.batches.epoch(0)))
        signed = context.spec.signed_inputs(context.model)
        self.calibration = Calibration(context.model, images, signed)
        self.full_accuracy = self._accuracy_of_full_precision()

    def policy(self, bits: Bits) -> Policy:
        """The policy of bits, first and last layer at 8."""
        ends = (ENDS_BITS, ENDS_BITS)
        layers = {
            name: LayerPolicy(
                weight_bits=bits.get(name, ends)[0], activation_bits=bits.get(name, ends)[1]
            )
            for name in self.context.layer_names
        }
        return Policy(network=self.context.spec.name, quantizer="linear", layers=layers)

    def network(self, bits: Bits) -> nn.Module:
        """The calibrated network, with the pretrained weights."""
        policy = self.policy(bits)
        model = quantized_network(copy.deepcopy(self.context.model), self.context.spec, policy)
        self.calibration.apply(model, policy)
        return model

    def accuracy(self, bits: Bits) -> tuple[float, float]:
        """Training accuracy in percent over an epoch of fine-tuning, and the reward."""
        model = self.network(bits).train()
        optimizer = SGD(
            model.parameters(),
            lr=self.settings.learning_rate,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
            fused=True,
        )
        hits = torch.zeros((), dtype=torch.long, device=self.context.device)
        for images, labels in self.batches.epoch(0):
            optimizer.zero_grad(set_to_none=True)
            with autocast(self.context.runtime, self.context.device):
                logits: Tensor = model(images).float()
            F.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            hits += (logits.argmax(1) == labels).sum()
        accuracy = 100 * float(hits) / self.batches.images
        return accuracy, REWARD_SCALE * (accuracy - self.full_accuracy)

    @torch.no_grad()
    def _accuracy_of_full_precision(self) -> float:
        model = self.context.model.eval()
        hits = sum(
            int((model(images).argmax(1) == labels).sum())
            for images, labels in self.batches.epoch(0)
        )
        return 100 * hits / self.batches.images


class EpisodeLog:
    """What every episode came to, on disk after each of them."""

    def __init__(self, context: SearchContext) -> None:
        """Go on with the log of an interrupted search of the same identity, if there is one."""
        self.path: Path = state_path(context.resume, context.identity).with_suffix(".json")
        self.episodes: list[dict[str, Any]] = []
        self._recorded: list[dict[str, Any]] = []
        self.interruptions = 0
        if self.path.exists():
            try:
                content = json.loads(self.path.read_text())
                self._recorded = content["episodes"]
                self.interruptions = content["interruptions"] + 1
            except (ValueError, KeyError) as error:
                raise SBSError(
                    f"{self.path}: the state is damaged ({error}); delete it to start over"
                ) from error

    def reward(self, bits: Bits, measure: Callable[[Bits], tuple[float, float]]) -> float:
        """Reward of the next episode: the recorded one, or a new measurement."""
        number = len(self.episodes)
        if number < len(self._recorded):
            episode = self._recorded[number]
            if {name: tuple(pair) for name, pair in episode["bits"].items()} != bits:
                raise SBSError(
                    f"{self.path}: episode {number + 1} does not repeat; delete it to start over"
                )
            self.episodes.append(episode)
        else:
            accuracy, reward = measure(bits)
            self.episodes.append({"bits": bits, "accuracy": accuracy, "reward": reward})
        return float(self.episodes[-1]["reward"])

    def complete(self, seconds: float) -> None:
        """Write the latest episode down, with the time of its actions, reward and learning."""
        if len(self.episodes) > len(self._recorded):
            self.episodes[-1]["seconds"] = seconds
            content = {"episodes": self.episodes, "interruptions": self.interruptions}
            write_text_atomically(self.path, json.dumps(content))

    def progression(self) -> Progression:
        """History and time; replayed episodes count as they took when they were new."""
        history = [
            {"epoch": n + 1} | {key: e[key] for key in ("accuracy", "reward", "seconds")}
            for n, e in enumerate(self.episodes)
        ]
        seconds = sum(float(episode["seconds"]) for episode in self.episodes)
        return Progression(len(history), seconds, self.interruptions, history)
