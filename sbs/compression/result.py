"""The result of a compression."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from torch import nn

from sbs.compression.goal import Goal
from sbs.cost.exact import policy_cost
from sbs.cost.layers import LayerShape, prune_shapes, uniform_policy_of
from sbs.errors import SBSError, naming_extras
from sbs.export.packed import Sizes, export
from sbs.networks.prunable import Prunable
from sbs.policy import FULL_PRECISION, Policy
from sbs.registry.costs import cost_model
from sbs.runtime.console import as_text

if TYPE_CHECKING:
    from sbs.export.onnx_file import OnnxSizes

WIDTH = 120


@dataclass(frozen=True)
class Compressed:
    """A compressed network, and how it was found; ``str()`` of it is :meth:`report`.

    Attributes:
        model: the network: without the pruned filters, with quantized layers. A module like any
            other: train it on, move it, save its ``state_dict``. It has the layers and the forward
            pass of the given network, but none of its other attributes and methods.
        policy: bitwidths and kept filters of every layer.
        goal: what the search aimed at.
        target_cost: the cost of that, in the unit of the cost model.
        found: the policy before the landing step, which moves a missed cost into the target's band.
        landing_flips: decisions that this step changed; 0 if the search got there by itself.
        score: metric of the compressed network on the validation batches; None without them.
        full_score: the same of the given network.
        history: one entry per epoch, of the search and of the fine-tuning.
        layers: shapes of the layers of the given network.
        prunables: its convolutions that can lose filters.
        highest_bits: bitwidth at the start of the search: the highest candidate, or 32 if it
            searched filters alone.
        example: one input, a tuple of the network's arguments.
    """

    model: nn.Module
    policy: Policy
    goal: Goal
    target_cost: float
    found: Policy
    landing_flips: int
    score: float | None
    full_score: float | None
    history: Mapping[str, list[dict[str, Any]]]
    layers: tuple[LayerShape, ...]
    prunables: tuple[Prunable, ...]
    highest_bits: int
    example: tuple[Any, ...]

    def __str__(self) -> str:
        return self.report()

    def cost(self, resource: str | None = None) -> float:
        """Cost of the network, in the unit of the cost model (bit operations, bytes, seconds).

        Args:
            resource: name of the cost model; None: that of the target.
        """
        return self._cost(self.policy, resource or self.goal.resource)

    def full_cost(self, resource: str | None = None) -> float:
        """Cost of the given network at :meth:`full_bits`; arguments as for :meth:`cost`."""
        return self._uniform_cost(self.full_bits(resource), resource or self.goal.resource)

    def full_bits(self, resource: str | None = None) -> int:
        """Bitwidth of the network that costs are compared with; arguments as for :meth:`cost`.

        It is 32, full precision. Hardware for fewer bits, or a table without such rows, has no cost
        of that: then it is the highest bitwidth of the search.
        """
        resource = resource or self.goal.resource
        try:
            self._uniform_cost(FULL_PRECISION, resource)
        except SBSError:
            return min(self.highest_bits, cost_model(resource).highest_bits)
        return FULL_PRECISION

    def report(self) -> str:
        """Layers with their bits and filters, costs, and scores, as text."""
        return as_text(self._table(), self._lines(), WIDTH)

    def save(self, path: str | Path) -> Sizes:
        """Write the network as packed integers; :func:`sbs.load` reads it."""
        return export(self.model, self.policy, Path(path))

    def export(self, path: str | Path) -> OnnxSizes:
        """Write the network as ONNX, with weights of as few bits as ONNX has types for.

        Arguments of the example that are no tensors, such as numbers, become constants.

        Raises:
            SBSError: the network has no form in ONNX, or the extra ``export`` is not installed.
        """
        with naming_extras():  # and the exporter takes seconds to import
            from sbs.export.onnx_file import export_onnx

        return export_onnx(self.model, self.policy, self.example, Path(path))

    def _cost(self, policy: Policy, resource: str) -> float:
        return policy_cost(self.layers, self.prunables, policy, resource)

    def _uniform_cost(self, bits: int, resource: str) -> float:
        return self._cost(uniform_policy_of(self.policy.network, self.layers, bits), resource)

    def _table(self) -> Table:
        table = Table(title=self.policy.network)
        for column in ("layer", "filters", "inputs", "weight bits", "input bits", "MACs"):
            table.add_column(column, justify="left" if column == "layer" else "right")
        left = {one.name: one for one in prune_shapes(self.layers, self.prunables, self.policy)}
        for layer in self.layers:
            chosen, now = self.policy.layers[layer.name], left[layer.name]
            table.add_row(
                layer.name,
                _of(now.out_channels, layer.out_channels),
                _of(now.in_channels, layer.in_channels),
                str(chosen.weight_bits),
                str(chosen.activation_bits),
                f"{now.macs:,}",
            )
        return table

    def _lines(self) -> Iterator[str]:
        for resource in dict.fromkeys((self.goal.resource, "bops", "memory")):
            model = cost_model(resource)
            full, now = self.full_cost(resource), self.cost(resource)
            whole = f"{model.number(full)} {model.unit}".strip()
            bits = in_words(self.full_bits(resource))
            times = f"{full / now:.1f} times less"
            yield f"{resource}: {model.number(now)} of {whole} at {bits} ({times})"
        yield f"target {self.goal.words}: {self._way()}"
        if self.score is not None:
            yield f"validation: {self.score:.4g}, before {self.full_score:.4g}"

    def _way(self) -> str:
        """How the search got to its target."""
        if self._uniform_cost(self.highest_bits, self.goal.resource) <= self.target_cost:
            return f"the network costs no more at {in_words(self.highest_bits)}; nothing had to go"
        if not self.landing_flips:
            return "the search got there by itself"
        flips = "flip" if self.landing_flips == 1 else "flips"
        return f"the search got there with {self.landing_flips} {flips}"


def in_words(bits: int) -> str:
    """A bitwidth for people."""
    return "full precision" if bits == FULL_PRECISION else f"{bits} bits"


def _of(now: int, before: int) -> str:
    return str(now) if now == before else f"{now} of {before}"
