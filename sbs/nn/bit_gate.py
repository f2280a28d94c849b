"""Quantization gates of a tensor: they select one of the nesting bitwidths (Eq. 10)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sbs.kernels import fused as kernels
from sbs.nn.batch_norm import Pending, Values
from sbs.nn.quantizers import inputs
from sbs.policy import Bitwidths
from sbs.quantization import gates

METRIC_MOMENTUM = 0.1
"""Weight of the newest batch in the running mean of the activation metrics (as in batch norm)."""


class BitGate(nn.Module):
    """Quantization gates of one tensor: K-1 thresholds, and the gates of the last forward pass."""

    frozen: Tensor | None
    mean_metrics: Tensor
    momentum: Tensor

    def __init__(
        self,
        bitwidths: Bitwidths,
        *,
        track_running_metrics: bool,
        device: torch.device | None = None,
    ) -> None:
        """Start with all gates open.

        Args:
            bitwidths: K nesting bitwidths.
            track_running_metrics: for activations. In evaluation, the gates then use the running
                mean of the metrics instead of the batch's, as batch norm does.
            device: device of the tensor.
        """
        super().__init__()
        self.bitwidths = bitwidths
        self.track_running_metrics = track_running_metrics
        count = len(bitwidths) - 1
        self.thresholds = nn.Parameter(torch.zeros(count, device=device))
        self.register_buffer("frozen", None)
        self.register_buffer("mean_metrics", torch.zeros(count, device=device))
        # Weight of the newest batch: 1 for the first batch.
        self.register_buffer("momentum", torch.ones((), device=device))
        self.gates: Tensor = torch.ones(count, device=device)
        self._guess = bitwidths.highest

    def fake_quantize(self, x: Values, interval: Tensor, *, signed: bool) -> Tensor:
        """Quantize ``x`` (any shape) at the current bitwidth; record gates and metrics."""
        if self.frozen is not None or (self.track_running_metrics and not self.training):
            self.gates = self.settled()
            return inputs.fake_quantize(x, interval, self.settled_bits(), signed=signed)
        spec = kernels.QuantizerSpec(self.thresholds, self.bitwidths, signed, self._guess)
        if isinstance(x, Pending):
            result = x.quantized(interval, spec)
        else:
            result = kernels.gated_fake_quantize(x, interval, spec)
        self.gates = result.gates
        self._guess = result.bits or self._guess
        if self.training:
            self._note(result.metrics)
        return result.values

    def settled(self) -> Tensor:
        """Gates from the running mean of the metrics; the extracted policy uses these."""
        if self.frozen is not None:
            return self.frozen
        return (self.mean_metrics >= self.thresholds).to(self.thresholds.dtype).detach()

    def settled_bits(self) -> int:
        """Bitwidth of the settled gates: given by their leading run of ones."""
        return self.bitwidths[int(gates.nested_gates(self.settled()).sum())]

    def bits(self) -> Tensor:
        """Bitwidth of the last forward pass."""
        return gates.expected_bits(self.gates.detach(), self.bitwidths)

    def _note(self, metrics: Tensor) -> None:
        self.mean_metrics.lerp_(metrics.to(self.mean_metrics.dtype), self.momentum)
        if self.track_running_metrics:
            self.momentum.fill_(METRIC_MOMENTUM)
