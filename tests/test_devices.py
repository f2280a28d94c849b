"""Search, landing, surgery and fine-tuning of every method on a GPU, without one.

The stages run as on a machine with a GPU, on the emulated one of :mod:`tests.emulated_gpu`, with
real images, weights and decisions. It refuses any operation that mixes tensors of the GPU and of
the CPU, wherever it is: forward, backward, optimizers, landing, sampling, taking filters out, going
on from a state on disk. PyTorch's fake tensors, which have no values, say the same of one training
step, by CUDA's own rules. Neither runs torch.compile, autocast or CUDA's kernels: `make gpu-check`
does, on a real GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from typer.testing import CliRunner

from benchmarks.kernel_check import Case, cases, compare
from benchmarks.steps import VARIANTS, Network, make_step
from sbs.cli import app
from sbs.config.scale import Scale, canonical_json, stage_settings
from sbs.cost.expected import expected_cost
from sbs.kernels import compiled as compiling
from sbs.methods.penalty import SteeredPenalty
from sbs.methods.single_path.landing import land
from sbs.methods.single_path.shares import OpenShares
from sbs.methods.single_path.task import SearchTask
from sbs.provenance.records import RunRecord
from sbs.quantization.packing import pack, unpack
from sbs.registry.methods import method, searching_methods
from tests.emulated_gpu import GPU, NAME, emulated_gpu, on_gpu
from tests.gated import IMAGE, SHAPES, exact, space_of
from tests.test_engine import shortened
from tests.test_killed import Killed, kill_before_outputs

# One method of a family stands for all of it.
NAMES = list({method(name).line: name for name in reversed(searching_methods())}.values())
SMALLER: dict[str, Any] = {"search.target": "0.7 x full"}
"""For those that quantize nothing: 4 bits are out of their reach."""

SEARCHES = [(name, {} if method(name).quantizes else SMALLER) for name in NAMES]
SEARCHES += [("sbs_q", {"search.bit_sharing": False})]
# Sensitivity trains a network for each tensor and each step between two bitwidths.
SEARCHES = [
    (name, {"search.bitwidths": [4, 8]} if name == "sensitivity" else overrides)
    for name, overrides in SEARCHES
]


def call(*words: object) -> None:
    """The command line on the emulated GPU; fails with what it raises."""
    with emulated_gpu():
        done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output


def stage(name: str, scale: Scale, out: Path, method: str = "", **overrides: Any) -> list[str]:
    """Arguments of a stage that writes into ``out``."""
    settings = stage_settings(scale, name, overrides, method) | {"runtime": {**RUNTIME}}
    words = [name, "--network", "resnet20", "--settings", canonical_json(settings)]
    words += ["--weights", f"{out}/weights.safetensors", "--record", f"{out}/record.json"]
    return words + (["--method", method] if method else [])


RUNTIME = {
    "device": "cuda",
    "precision": "fp32",
    "channels_last": True,
    "accumulation": 1,
    "sync_batch_norm": True,
}


def device_of(out: Path) -> str:
    return RunRecord.load(out / "record.json").device


@pytest.fixture(scope="module")
def short_scale(default_scale: Scale) -> Scale:
    """A few steps of everything."""
    scale = shortened(default_scale, epochs=1)
    changes: dict[str, Any] = {
        name: getattr(scale, name).model_copy(update={"batch_size": 128})
        for name in ("pretrain", "search", "dq", "finetune")
    }
    episodes = {"episodes": 2, "warmup_episodes": 1, "images": 128}
    changes["haq"] = scale.haq.model_copy(update=episodes)
    return scale.model_copy(update=changes)


@pytest.fixture(scope="module")
def pretrained(
    short_scale: Scale, few_digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("pretrain")
    call(*stage("pretrain", short_scale, out), "--data", few_digits)
    assert device_of(out) == NAME
    return out / "weights.safetensors"


@pytest.mark.parametrize(("name", "overrides"), SEARCHES)
def test_every_method(
    name: str,
    overrides: dict[str, Any],
    short_scale: Scale,
    few_digits: Path,
    pretrained: Path,
    tmp_path: Path,
) -> None:
    """The search is killed before its outputs once, so that its state is read back too."""
    found, tuned = tmp_path / "search", tmp_path / "finetune"
    policy = ("--policy", found / "policy.json")
    search = [*stage("search", short_scale, found, name, **overrides), "--data", few_digits]
    search += ["--pretrained", pretrained, *policy]
    with pytest.MonkeyPatch.context() as patch:
        kill_before_outputs(patch)
        with pytest.raises(Killed):
            call(*search)
    call(*search)
    finetune = [*stage("finetune", short_scale, tuned, name), "--data", few_digits, *policy]
    call(*finetune, "--start", found / "weights.safetensors")
    assert device_of(found) == device_of(tuned) == NAME
    exported = tmp_path / "network.sbs"
    call("export", *policy, "--weights", tuned / "weights.safetensors", "--output", exported)
    call("evaluate", "--network", "resnet20", "--data", few_digits, "--weights", exported)


@pytest.mark.parametrize("share", [0.4, 0.6])
def test_landing_closes_and_reopens_filters(share: float) -> None:
    with emulated_gpu():
        space = space_of(quantize=False)
        target = 0.7 * exact(space, space.policy_of(space.state()))
        space.model.to(GPU)
        shares = OpenShares(space, window=10)
        shares.mean.groups.fill_(share)
        policy = land(shares, target, lambda found: exact(space, found)).policy
    assert 0.95 * target <= exact(space, policy) <= target


def test_packing() -> None:
    with emulated_gpu():
        codes = torch.arange(16)
        words = pack(codes.to(GPU), 5)
        assert on_gpu(words)
        assert unpack(words, 5, 16).tolist() == codes.tolist()


def test_a_step_of_the_search_by_the_rules_of_fake_tensors(
    default_scale: Scale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "compiled", lambda one, options: partial(one, **dict(options)))
    with FakeTensorMode(allow_non_fake_inputs=False):
        with GPU:
            space = space_of()
        space.model.train()
        cost = expected_cost(space, SHAPES, "bops", propagate=True, device=GPU)
        penalty = SteeredPenalty(2.0, 1.0, 0.2, 0.6, 100, GPU)
        task = SearchTask(space, cost, cost, penalty, default_scale.search, steps=1000)
        task.before_forward(1)
        images, labels = torch.rand(8, *IMAGE, device=GPU), torch.arange(8, device=GPU)
        loss = task.loss((images, labels))
    assert loss.device.type == "cuda"


@pytest.mark.parametrize("name", ["plain", "fixed 4-bit", "SBS", "multi-path"])
def test_steps_of_the_benchmarks(name: str) -> None:
    with emulated_gpu():
        step = make_step(VARIANTS[name], Network(device=GPU), batch=4)
        step()
        step()
        assert all(on_gpu(parameter) for parameter in step.task.model.parameters())


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_comparison_of_the_kernels(case: Case) -> None:
    with emulated_gpu():
        assert compare(case, "fp32", GPU)["outcome"] == "passed"


MIXED: Sequence[tuple[str, Any]] = [
    ("operands", lambda gpu, cpu: gpu + cpu),
    ("a mask", lambda gpu, cpu: gpu.masked_fill(cpu > 0, 1.0)),
    ("an index of a CPU tensor", lambda gpu, cpu: cpu[gpu.argsort()]),
    ("an index_select", lambda gpu, cpu: gpu.index_select(0, cpu.argsort())),
    ("a stack of scalars", lambda gpu, cpu: torch.stack([gpu[0], cpu[0]])),
    ("an addition to a CPU scalar", lambda gpu, cpu: cpu[0].add_(gpu[0])),
    ("a gradient", lambda gpu, cpu: (gpu.requires_grad_() ** 2).backward(cpu)),
    ("random numbers", lambda gpu, cpu: gpu.normal_(generator=torch.Generator())),
    ("NumPy", lambda gpu, cpu: gpu.numpy()),
]


@pytest.mark.parametrize(("what", "operation"), MIXED, ids=[what for what, _ in MIXED])
def test_the_emulated_gpu_refuses_what_cuda_refuses(what: str, operation: Any) -> None:
    with emulated_gpu():
        cpu = torch.arange(4.0)
        gpu = cpu.to(GPU)
        with pytest.raises((RuntimeError, TypeError), match=r"one device|CPU generator|NumPy"):
            operation(gpu, cpu)
        moved = nn.Linear(4, 4).to("cuda")
        assert moved.weight.is_cuda
        assert not moved.weight.cpu().is_cuda
        assert (gpu * cpu[1] + cpu.to(gpu)).device == GPU
        assert gpu[cpu > 1].tolist() == [2.0, 3.0]
