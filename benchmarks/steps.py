"""One training step of every compared kind, on CIFAR shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from sbs.config.scale import Scale, load_scale
from sbs.cost.expected import expected_cost
from sbs.cost.layers import LayerShape
from sbs.cost.trace import trace_layers
from sbs.kernels import build as native
from sbs.methods.penalty import FixedPenalty
from sbs.methods.single_path.task import SearchTask
from sbs.networks import get_spec
from sbs.networks.resnet_cifar import CifarResNet
from sbs.nn.layers import LayerOptions
from sbs.nn.multipath import QuantizedPath, multipath_layers
from sbs.policy import Bitwidths, uniform_policy
from sbs.surgery.networks import quantized_network
from sbs.surgery.search import search_network
from sbs.training.batch import Batch
from sbs.training.classification import Classification
from sbs.training.loop import Task
from sbs.training.recipe import cross_entropy

ROOT = Path(__file__).resolve().parent.parent
IMAGE, CLASSES, BATCH = (3, 32, 32), 100, 128
PENALTY = 0.05
CANDIDATES = Bitwidths((2, 4, 8))
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Network:
    """A CIFAR ResNet on a device: depth 6 n + 2, and a factor on its 16-32-64 channels."""

    depth: int = 20
    width: int = 1
    device: torch.device = CPU

    def build(self) -> nn.Module:
        """Build with random weights that are the same at every call."""
        torch.manual_seed(0)
        widths = (16 * self.width, 32 * self.width, 64 * self.width)
        return CifarResNet(self.depth, CLASSES, IMAGE[0], widths).to(self.device)

    @property
    def name(self) -> str:
        """Name such as ``resnet20`` or ``resnet20 x2``."""
        return f"resnet{self.depth}" + (f" x{self.width}" if self.width > 1 else "")


@dataclass
class Step:
    """A training step that can be repeated."""

    task: Task
    images: Tensor
    labels: Tensor
    precision: str = "fp32"
    reference: bool = False
    iteration: int = 0

    def __call__(self) -> None:
        """Run forward pass, backward pass and update."""
        self.task.model.train()
        for optimizer in self.task.optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.task.before_forward(self.iteration)
        self.iteration += 1
        device = self.images.device.type
        half = torch.autocast(device, torch.bfloat16) if self.precision == "bf16" else nullcontext()
        with reference_code() if self.reference else nullcontext():
            with half:
                loss = self.task.loss((self.images, self.labels))
            loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in self.task.optimizers:
            optimizer.step()


@contextmanager
def reference_code() -> Iterator[None]:
    """Run without the compiled kernels."""
    available = native.available
    native.available = lambda: False  # type: ignore[assignment]
    try:
        yield
    finally:
        native.available = available


class MultiPathSearch(Classification):
    """Search without bit sharing: one path per bitwidth with its own weights, and a cost term."""

    def __init__(self, network: Network, scale: Scale, bitwidths: Bitwidths) -> None:
        """Set up the network with all paths."""
        model, spec, names, shapes = _start(network)
        signed = spec.signed_inputs(model)

        def paths(layer: nn.Conv2d, name: str) -> list[QuantizedPath]:
            options = LayerOptions(32, 32, signed_input=name in signed)
            return [QuantizedPath(layer.weight, bits, options) for bits in bitwidths]

        ends = uniform_policy(spec.name, names, 8)
        model = quantized_network(model, spec, ends, plain=names[1:-1])
        self.layers = multipath_layers(model, names[1:-1], paths)
        macs = {shape.name: shape.macs for shape in shapes}
        self.costs = torch.tensor(
            [[float(macs[name] * bits * bits) for bits in bitwidths] for name in self.layers],
            device=network.device,
        )
        super().__init__(model, scale.search)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy plus λ times the log of the expected cost."""
        for layer in self.layers.values():
            layer.sample(temperature=1.0)
        entropy = cross_entropy(self.model, batch)
        mixtures = torch.stack([layer.mixture for layer in self.layers.values()])
        return entropy + PENALTY * (self.costs * mixtures).sum().log()


def plain(network: Network, scale: Scale, *, compiled: bool = False) -> Task:
    """Training at full precision."""
    model = network.build()
    return Classification(torch.compile(model) if compiled else model, scale.finetune)


def fixed(network: Network, scale: Scale, *, bits: int = 4) -> Task:
    """Fine-tuning at a fixed bitwidth."""
    model, spec, names, _ = _start(network)
    policy = uniform_policy(spec.name, names, bits)
    return Classification(quantized_network(model, spec, policy), scale.finetune)


def search(
    network: Network, scale: Scale, *, prune: bool, bitwidths: Bitwidths = CANDIDATES
) -> Task:
    """Search with bit sharing."""
    model, spec, names, shapes = _start(network)
    space = search_network(
        model,
        spec,
        uniform_policy(spec.name, names, bitwidths.highest),
        bitwidths=bitwidths,
        group_size=scale.search.group_size if prune else None,
        metric=scale.search.pruning_metric,
        placement=scale.search.pruning_gate,
    )
    space.model.to(network.device)
    cost = expected_cost(space, shapes, "bops", propagate=True, device=network.device)
    penalty = FixedPenalty(PENALTY, network.device)
    return SearchTask(space, cost, cost, penalty, scale.search, 10_000)


def multipath(network: Network, scale: Scale, bitwidths: Bitwidths = CANDIDATES) -> Task:
    """Search without bit sharing."""
    return MultiPathSearch(network, scale, bitwidths)


def brevitas(network: Network, scale: Scale) -> Task:
    """4-bit quantization-aware training with Brevitas' defaults."""
    from benchmarks.brevitas_peer import quantize

    return Classification(quantize(network.build(), 4), scale.finetune)


@dataclass(frozen=True)
class Variant:
    """How to make and run a step."""

    make: Callable[[Network, Scale], Task]
    reference: bool = False
    channels_last: bool = True


VARIANTS: dict[str, Variant] = {
    "plain": Variant(plain),
    "plain, contiguous": Variant(plain, channels_last=False),
    "plain, compiled": Variant(partial(plain, compiled=True)),
    "fixed 4-bit": Variant(fixed),
    "fixed 4-bit, reference": Variant(fixed, reference=True),
    "SBS": Variant(partial(search, prune=True)),
    "SBS, reference": Variant(partial(search, prune=True), reference=True),
    "SBS-Q": Variant(partial(search, prune=False)),
    "SBS-Q, reference": Variant(partial(search, prune=False), reference=True),
    "multi-path": Variant(multipath),
    "multi-path, reference": Variant(multipath, reference=True),
    "Brevitas 4-bit": Variant(brevitas),
}
"""All compared variants; those named reference run without compiled kernels."""


def make_step(
    variant: Variant, network: Network, precision: str = "fp32", batch: int = BATCH
) -> Step:
    """Make a step that is ready to run."""
    scale = load_scale(ROOT / "config" / "cifar100-short.yaml")
    task = variant.make(network, scale)
    layout = torch.channels_last if variant.channels_last else torch.contiguous_format
    task.model.to(memory_format=layout)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(1)
    # The time does not depend on the values of pixels and labels.
    images = torch.randn(batch, *IMAGE, generator=generator).contiguous(memory_format=layout)
    labels = torch.randint(CLASSES, (batch,), generator=generator)
    moved = images.to(network.device), labels.to(network.device)
    return Step(task, *moved, precision, variant.reference)


def _start(network: Network) -> tuple[nn.Module, object, list[str], tuple[LayerShape, ...]]:
    model = network.build()
    shapes = trace_layers(model, IMAGE)
    return model, get_spec(f"resnet{network.depth}"), [shape.name for shape in shapes], shapes
