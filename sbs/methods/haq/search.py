"""HAQ (Wang et al. 2019): a DDPG agent chooses bits layer by layer, within a budget.

Every proposed policy first has its bits lowered, from the last layer on, until it is within the
budget. It is then calibrated, and fine-tuned for one epoch on a few training images; the reward is
its accuracy there. The best policy of all episodes is the result.

One entry of the history is one episode here; the state of the agent is saved after each episode.
"""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD

from sbs.errors import SBSError
from sbs.methods.context import SearchContext, SearchResult
from sbs.methods.haq import HAQSettings
from sbs.methods.haq.agent import Agent
from sbs.methods.haq.calibration import Calibration
from sbs.methods.haq.environment import Bits, PrecisionEnv
from sbs.policy import ENDS_BITS, LayerPolicy, Policy
from sbs.runtime import processes
from sbs.runtime.device import autocast
from sbs.runtime.seeding import derive_seed, seed_everything
from sbs.surgery.networks import plain_state, quantized_network
from sbs.training.spread import portions, spread
from sbs.training.state import Progression, read_state, training_lock, write_state

REWARD_SCALE = 0.1
"""Reward per percentage point of accuracy."""

MOMENTUM, WEIGHT_DECAY = 0.9, 4e-5


def search(context: SearchContext) -> SearchResult:
    """Search by reinforcement learning."""
    settings = context.section(HAQSettings)
    target = context.target_cost()
    if target is None:
        raise SBSError("search.target: HAQ needs a budget; give for example '4-bit'")
    proposals = Proposals(context, settings)
    cost_of = context.exact_cost()
    env = PrecisionEnv(
        [shape for shape in context.shapes if not shape.end],
        (settings.lowest_bits, settings.highest_bits),
        lambda bits: cost_of(proposals.policy(bits)),
        target,
        proposals.reward,
    )
    with training_lock(context.resume):
        bits, progression = run_episodes(env, settings, context)
    state = plain_state(proposals.network(bits))
    return SearchResult(proposals.policy(bits), state, target, progression)


def run_episodes(
    env: PrecisionEnv, settings: HAQSettings, context: SearchContext
) -> tuple[Bits, Progression]:
    """Let the agent act and learn in all episodes; return the bits of the best one."""
    seed = derive_seed(context.seed, "agent") % 2**32
    agent = Agent(env, settings.episodes, settings.warmup_episodes, seed)
    best: tuple[float, Bits] = (-math.inf, {})
    content, progression = read_state(context.resume, context.identity, context.reporter)
    if content is not None:
        agent.load_state_dict(content["agent"])
        best = content["best"]
    for episode in range(progression.epoch, settings.episodes):
        started = time.perf_counter()
        reward, info = run_episode(env, agent, episode, context.seed)
        if reward > best[0]:
            best = reward, info["bits"]
        seconds = time.perf_counter() - started
        progression.history.append(
            {
                "epoch": episode + 1,
                "accuracy": info["accuracy"],
                "reward": reward,
                "seconds": round(seconds, 3),
            }
        )
        progression.seconds += seconds
        progression.epoch = episode + 1
        content = {"agent": agent.state_dict(), "best": best}
        write_state(content, context.resume, context.identity, progression)
        context.reporter.line(
            f"episode {episode + 1}/{settings.episodes} accuracy {info['accuracy']:.2f} "
            f"reward {reward:.3f} best {best[0]:.3f}"
        )
    return best[1], progression


def run_episode(
    env: PrecisionEnv, agent: Agent, episode: int, seed: int
) -> tuple[float, dict[str, Any]]:
    """Run one episode and let the agent learn from it; return its reward and info."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "actions", episode))
    state, info = env.reset()
    states, actions, done, reward = [], [], False, 0.0
    while not done:
        states.append(state)
        actions.append(agent.action(state, episode, generator))
        state, reward, done, _, info = env.step(actions[-1])
    agent.remember(states, actions, state, reward)
    # NumPy's global generator draws from the replay; reseed it, so that the past does not matter.
    seed_everything(derive_seed(seed, "learning", episode))
    agent.learn(episode)
    return reward, info


class Proposals:
    """Networks with proposed bits, and their accuracy after a short fine-tuning."""

    def __init__(self, context: SearchContext, settings: HAQSettings) -> None:
        """Choose the images, calibrate, and measure the full-precision accuracy on the images."""
        self.context, self.settings = context, settings
        generator = torch.Generator().manual_seed(derive_seed(context.seed, "images"))
        order = torch.randperm(context.image_batches.images, generator=generator)
        self.batches = context.image_batches.part(order[: settings.images])
        images, _ = self.batches.first_batch()
        signed = context.spec.signed_inputs(context.model)
        self.calibration = Calibration(context.model, images, signed)
        self.full_accuracy = self._accuracy_of_full_precision()

    def policy(self, bits: Bits) -> Policy:
        """Policy with these bits; the first and the last layer have 8 bits."""
        ends = (ENDS_BITS, ENDS_BITS)
        layers = {
            name: LayerPolicy(
                weight_bits=bits.get(name, ends)[0], activation_bits=bits.get(name, ends)[1]
            )
            for name in self.context.layer_names
        }
        quantizer = self.context.method.quantizer
        return Policy(network=self.context.spec.name, quantizer=quantizer, layers=layers)

    def network(self, bits: Bits) -> nn.Module:
        """Calibrated network with the pretrained weights."""
        policy = self.policy(bits)
        model = quantized_network(copy.deepcopy(self.context.model), self.context.spec, policy)
        self.calibration.apply(model, policy)
        return model

    def reward(self, bits: Bits) -> tuple[float, float]:
        """Reward of the bits, and the training accuracy in percent that it is based on."""
        accuracy = self.accuracy(bits)
        return REWARD_SCALE * (accuracy - self.full_accuracy), accuracy

    def accuracy(self, bits: Bits) -> float:
        """Training accuracy in percent over one epoch of fine-tuning."""
        model, device = self.network(bits).train(), self.context.device
        network = spread(model, self.context.runtime, device)
        optimizer = SGD(
            model.parameters(),
            lr=self.settings.learning_rate,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
            fused=True,
        )
        hits = torch.zeros((), dtype=torch.long, device=device)
        for batch in self.batches.epoch(0):
            optimizer.zero_grad(set_to_none=True)
            for (images, labels), weight in portions(batch, network, self.context.runtime, device):
                with autocast(self.context.runtime, device):
                    logits: Tensor = network(images).float()
                loss = F.cross_entropy(logits, labels) * weight
                loss.backward()  # type: ignore[no-untyped-call]
                hits += (logits.argmax(1) == labels).sum()
            optimizer.step()
        return 100 * float(processes.total(hits)) / self.batches.images

    @torch.no_grad()
    def _accuracy_of_full_precision(self) -> float:
        model = self.context.model.eval()
        hits = torch.zeros((), dtype=torch.long, device=self.context.device)
        for images, labels in self.batches.epoch(0):
            hits += (model(images).argmax(1) == labels).sum()
        return 100 * float(processes.total(hits)) / self.batches.images
