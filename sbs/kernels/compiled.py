"""The reference functions; on GPUs torch.compile fuses each into one kernel."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor


def reference(x: Tensor, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """A reference function with its options bound; compiled if ``x`` is on a GPU.

    In a network under torch.compile it becomes a part of that.
    """
    if x.device.type == "cuda" and not torch.compiler.is_compiling():
        return compiled(function, tuple(options.items()))
    return partial(function, **options)


@cache
def compiled(
    function: Callable[..., Any], options: tuple[tuple[str, Any], ...]
) -> Callable[..., Any]:
    """``function`` with its options bound, as one fused kernel for tensors of any shape."""
    readable = partial(function, **dict(options))

    def call(*tensors: Tensor) -> Any:
        return readable(*tensors)

    # The other keyword, which the stubs lack: a limit of compilations for each function.
    fused = torch.compile(call, dynamic=True, isolate_recompiles=True)  # type: ignore[call-overload]
    fast: list[Callable[..., Any]] = [fused]

    def either(*tensors: Tensor) -> Any:
        try:
            return fast[0](*tensors)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a missing compiler raises many kinds of errors
            if fast[0] is readable:
                raise
            warnings.warn(
                f"torch.compile failed, falling back to eager PyTorch: {error}", stacklevel=2
            )
            fast[0] = readable
            return readable(*tensors)

    return either
