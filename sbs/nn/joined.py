"""Batch norm, addition, ReLU and the quantizer of the next layer, computed at once.

Between a convolution and the quantizer of the next one there is a batch norm, and often an addition
and a ReLU: cheap arithmetic, but each is a pass over memory. Together they are one pass.
"""

from __future__ import annotations

from torch import Tensor

from sbs.kernels import norm as norm_kernels
from sbs.nn.batch_norm import GatedBatchNorm2d
from sbs.nn.layers import QuantLayer


def normalized_and_quantized(
    norm: GatedBatchNorm2d,
    reader: QuantLayer,
    raw: Tensor,
    residual: Tensor | None = None,
    *,
    relu: bool,
    keep: bool,
) -> tuple[Tensor, Tensor | None]:
    """Input of a layer that reads a batch norm, quantized.

    Args:
        norm: the batch norm.
        reader: the layer.
        raw: input of the batch norm (N, C, H, W).
        residual: what is added to the normalised values.
        relu: whether a ReLU follows.
        keep: whether something else reads the values before they are quantized.

    Returns:
        the quantized values, and the values before; the latter can be None if not ``keep``.
    """
    spec = reader.joined_spec()
    fits = residual is None or residual.shape == raw.shape
    if spec is None or not fits or not norm.joins(raw):
        values = norm_kernels.norm_reference(raw, norm.step(), residual, relu=relu)
        return reader.quantized_input(values), values
    interval = reader.activation_interval
    result, kept = norm_kernels.norm_quantize(
        raw, norm.step(), residual, interval, spec, relu=relu, keep=keep
    )
    return reader.record_input(result), kept
