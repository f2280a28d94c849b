"""PyTorch's ONNX exporter as most tools know it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch


@contextmanager
def tracing_exporter() -> Iterator[None]:
    """Have ``torch.onnx.export`` trace inside.

    Some tools call it without a choice of exporter, and today's default cannot read their layers.
    """
    default = torch.onnx.export
    torch.onnx.export = partial(default, dynamo=False)
    try:
        yield
    finally:
        torch.onnx.export = default
