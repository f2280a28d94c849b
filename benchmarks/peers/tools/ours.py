"""This project: the one call, with and without pruning, and the same bits everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import sbs
from benchmarks import steps
from benchmarks.peers.start import NETWORK, SEED, Start
from benchmarks.peers.tool import Found, Job, TimedTask, Tool
from benchmarks.peers.training import train
from sbs.compression.progress import EpochEnd
from sbs.cost.layers import uniform_policy_of
from sbs.export.onnx_file import export_onnx
from sbs.export.packed import export as export_packed
from sbs.policy import Policy
from sbs.surgery.weights import with_state
from sbs.training.classification import Classification

DOCUMENTATION = "[compress.md](../../../docs/compress.md)"


class EpochLoader:
    """The common batches as a loader: each epoch of a stage gets its own order and crops."""

    def __init__(self, start: Start) -> None:
        self._batches, self._epoch = start.batches(), 0
        self.sampler = self
        """Where the loop looks for ``set_epoch``."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._batches.epoch(self._epoch)


def search(job: Job, *, prune: bool) -> Found:
    """Search and fine-tune with :func:`sbs.compress`."""
    start, loader = job.start, EpochLoader(job.start)

    def count(end: EpochEnd) -> None:
        stage = "search" if end.stage == "search" else "training"
        job.meter.add(stage, f"epoch {end.epoch}", len(loader))

    job.meter.restart()
    result = sbs.compress(
        start.network(),
        loader,
        f"{job.level}-bit",
        epochs=start.epochs,
        search_epochs=start.epochs,
        learning_rate=start.scale.finetune.learning_rate,
        prune=prune,
        seed=SEED,
        device="cpu",
        checkpoint=job.folder,
        callbacks=[count],
    )
    flips = result.landing_flips
    return Found(
        result.model,
        result.policy,
        {
            "sbs": lambda folder: result.save(folder / "network.sbs"),
            "onnx": lambda folder: result.export(folder / "network.onnx"),
        },
        own_cost=result.cost(),
        notes=(f"decisions changed after the search to meet the target: {flips}",),
    )


def uniform(job: Job) -> Found:
    """Train the network with the same bits in all layers but the ends."""
    start = job.start
    policy = uniform_policy_of(NETWORK, start.shapes, job.level)
    images, _ = start.batches().first_batch()
    spec = sbs.NetworkSpec(NETWORK)
    model = with_state(
        start.network(),
        spec,
        policy,
        dict(start.state),
        "start",
        fit_by=lambda plain: plain(images),
    ).to(memory_format=torch.channels_last)
    train(job, "ours-uniform", model, "training", 2 * start.epochs)
    return Found(model, policy, _exports(model.eval(), policy, start))


def _exports(
    model: torch.nn.Module, policy: Policy, start: Start
) -> dict[str, Callable[[Path], object]]:
    example = torch.zeros(1, *start.dataset.image)
    return {
        "sbs": lambda folder: export_packed(model, policy, folder / "network.sbs"),
        "onnx": lambda folder: export_onnx(model, policy, [example], folder / "network.onnx"),
    }


def _steps(start: Start) -> dict[str, TimedTask]:
    names = {
        "ours, search": "SBS",
        "ours, search of bits": "SBS-Q",
        "ours, training": "fixed 4-bit",
    }
    plain = {"plain": TimedTask(Classification(start.network(), start.recipe(1)))}
    network = steps.Network()
    return plain | {
        name: TimedTask(steps.VARIANTS[variant].make(network, start.scale))
        for name, variant in names.items()
    }


TOOLS = (
    Tool(
        name="ours",
        label="ours, bits and filters",
        how="gradient search",
        configured=f"`sbs.compress(model, loader, target)`, {DOCUMENTATION}.",
        better="lands on the target by itself and refuses one that is out of reach; its files "
        "hold the bits that the search chose.",
        packages=("sbs",),
        compress=partial(search, prune=True),
        steps=_steps,
    ),
    Tool(
        name="ours-bits",
        label="ours, bits only",
        how="gradient search",
        configured=f"`sbs.compress(..., prune=False)`, {DOCUMENTATION}.",
        better="as above.",
        packages=("sbs",),
        compress=partial(search, prune=False),
    ),
    Tool(
        name="ours-uniform",
        label="ours, the same bits everywhere",
        how="fixed",
        configured="the method `fixed4` or `fixed3` of the workflow, trained for the whole budget.",
        better="needs no search.",
        packages=("sbs",),
        compress=uniform,
    ),
)
