"""Batch norm in a quantized network: pruning gates can close its channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sbs.kernels import norm as norm_kernels
from sbs.nn.filter_gate import FilterGate
from sbs.nn.shared_gates import SharedGates


class GatedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm in a quantized network. Pruning gates can close its channels.

    The gates multiply scale and shift, which costs nothing per pixel. The output of a pruned filter
    is zero.

    Attributes:
        shared: in training, take the statistics of the batches of all processes.
    """

    def __init__(
        self,
        channels: int,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Create it without a gate; :meth:`gate_by` adds one.

        Args:
            channels: C.
            device: device of the input.
            dtype: type of the parameters.
        """
        super().__init__(channels, device=device, dtype=dtype)
        self.shared = False
        self._gates = SharedGates()
        self._differentiable: set[FilterGate] = set()

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> GatedBatchNorm2d:
        """The same batch norm, with the same tensors as parameters and buffers."""
        new = cls(norm.num_features, device=norm.weight.device, dtype=norm.weight.dtype)
        new.eps, new.momentum = norm.eps, norm.momentum
        new.weight, new.bias = norm.weight, norm.bias
        for name, value in norm.named_buffers():
            setattr(new, name, value)
        return new.train(norm.training)

    def gate_by(self, gate: FilterGate, start: int = 0, *, differentiable: bool) -> None:
        """Close channels with a gate.

        Args:
            gate: the gate.
            start: place of its first channel.
            differentiable: whether it gets a gradient from here.
        """
        self._gates.add(gate, start)
        if differentiable:
            self._differentiable.add(gate)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        return norm_kernels.norm_reference(x, self.step(), None, relu=False)

    def joins(self, x: Tensor) -> bool:
        """Whether a kernel computes the batch norm of ``x`` and a quantizer behind it at once."""
        # With running statistics the kernel has no backward pass.
        differentiable = self.training == torch.is_grad_enabled()
        return differentiable and not self.shared and norm_kernels.joins_norm(x)

    def step(self) -> norm_kernels.Norm:
        """Count a step; return its batch norm, with the gates applied to scale and shift."""
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if self._gates:
            factor = self._gates.vector(self.num_features, self._factor)
            weight, bias = weight * factor, bias * factor
        assert self.running_mean is not None
        assert self.running_var is not None
        return norm_kernels.Norm(
            weight,
            bias,
            self.running_mean,
            self.running_var,
            self.training,
            self._rate(),
            self.eps,
            self.shared,
        )

    def _rate(self) -> float:
        """Weight of a batch in the running statistics; without a momentum all batches are equal."""
        if self.momentum is not None:
            return self.momentum
        return 1.0 / max(1.0, float(self.num_batches_tracked or 0))

    def _factor(self, gate: FilterGate) -> Tensor:
        return gate.factor if gate in self._differentiable else gate.mask


def share_statistics(model: nn.Module) -> None:
    """Let all batch norms take the statistics of the batches of all processes, in place.

    Parameters and buffers stay the same tensors.
    """
    for name, norm in list(model.named_modules()):
        if isinstance(norm, nn.BatchNorm2d) and not isinstance(norm, GatedBatchNorm2d):
            new = GatedBatchNorm2d.of(norm)
            model.set_submodule(name, new)
            norm = new
        if isinstance(norm, GatedBatchNorm2d):
            norm.shared = True
