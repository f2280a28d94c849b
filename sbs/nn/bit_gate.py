"""Quantization gates of a tensor: they select one of the nesting bitwidths (Eq. 10)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sbs.kernels import fused as kernels
from sbs.policy import Bitwidths
from sbs.quantization import gates
from sbs.runtime import processes


class BitGate(nn.Module):
    """Quantization gates of one tensor: K-1 thresholds, and the gates of the last forward pass.

    Attributes:
        gates: gates of the last forward pass (K-1), before nesting; differentiable in the
            thresholds.
        loss_aware: if false, the thresholds get no gradient from the loss, only from the cost.
        frozen: gates that replace the computed ones, or None; see :meth:`freeze`.
    """

    frozen: Tensor | None

    def __init__(
        self,
        bitwidths: Bitwidths,
        *,
        of_batch: bool,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Start with all gates open.

        Args:
            bitwidths: K nesting bitwidths.
            of_batch: whether the tensor is one of a batch, of which each process has its share.
            device: device of the tensor.
            dtype: type of the tensor's interval.
        """
        super().__init__()
        self.bitwidths, self.of_batch = bitwidths, of_batch
        count = len(bitwidths) - 1
        self.thresholds = nn.Parameter(torch.zeros(count, device=device, dtype=dtype))
        self.register_buffer("frozen", None, persistent=False)
        self.loss_aware = True
        self.gates: Tensor = torch.ones(count, device=device, dtype=dtype)
        self._guess = bitwidths.highest

    def freeze(self, bits: int) -> None:
        """Stay at a bitwidth; thresholds then have no effect."""
        self.frozen = self.thresholds.new_tensor([float(bits >= b) for b in self.bitwidths[1:]])
        self.gates, self._guess = self.frozen, bits

    def fake_quantize(self, x: Tensor, interval: Tensor, *, signed: bool) -> Tensor:
        """Quantize ``x`` (any shape) at the current bitwidth; record the gates."""
        if self.frozen is not None:
            self.gates = self.frozen
            return kernels.fake_quantize(x, interval, self._guess, signed=signed)
        quantize = kernels.gated_fake_quantize
        if self._shared:
            quantize = kernels.shared_gated_fake_quantize
        return self.record(quantize(x, interval, self._spec(signed)))

    def joined_spec(self, interval: Tensor, *, signed: bool) -> kernels.QuantizerSpec | None:
        """What a kernel that joins this quantizer with others needs; None if none can."""
        if self.frozen is not None:
            return kernels.fixed(interval, self._guess, signed=signed)
        return None if self._shared else self._spec(signed)

    def record(self, result: kernels.Quantized) -> Tensor:
        """Record the gates of a result; return its values."""
        if self.frozen is not None:
            self.gates = self.frozen
            return result.values
        self.gates = result.gates
        if not self.loss_aware:
            self.gates = gates.binary_gate(result.metrics, self.thresholds)
        self._guess = result.bits or self._guess
        return result.values

    @property
    def _shared(self) -> bool:
        """Whether the metrics depend on the tensors of several processes."""
        return self.of_batch and processes.count() > 1

    def _spec(self, signed: bool) -> kernels.QuantizerSpec:
        thresholds: Tensor = self.thresholds
        felt = thresholds if self.loss_aware else thresholds.detach()
        return kernels.QuantizerSpec(felt, self.bitwidths, signed, self._guess)
