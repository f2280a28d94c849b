"""A GPU that is none: tensors with real values on the CPU, which refuse what a GPU would refuse.

A tensor is on the emulated GPU if its storage is marked. The function mode below answers for the
device (``tensor.device``, ``device=`` of factories, ``to``, ``cpu``, ``numpy``); the dispatch mode
sees every operation, also those of the backward pass and of optimizers, marks its outputs, and
raises where CUDA would:

- an operation on tensors of both devices, save copies, indices of an indexed GPU tensor, and
  scalars (0 dimensions) of the CPU as operands of elementwise operations;
- an operation that has no kernel for the device: the project's own C++ kernels;
- random numbers of a CPU generator for a GPU tensor;
- operations that PyTorch refuses on CUDA once deterministic algorithms are asked for.

Values are real, so that whole searches with their decisions run. What it cannot see: torch.compile
(the reference functions run as they are), bf16 autocast, CUDA's own rounding, and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sbs.kernels.compiled import compiled

GPU = torch.device("cuda")
NAME = "emulated GPU"
CPU = torch.device("cpu")

COPIES = {"copy_", "_foreach_copy_"}
INDEXING = {"index", "index_put_", "_index_put_impl_", "_unsafe_index_put"}
NOT_DETERMINISTIC = {
    "_adaptive_avg_pool2d_backward",
    "adaptive_max_pool2d_backward",
    "bincount",
    "grid_sampler_2d_backward",
    "histc",
    "kthvalue",
    "median.dim",
    "nll_loss2d_forward",
    "put_",
    "reflection_pad2d_backward",
    "upsample_bilinear2d_backward",
}


def on_gpu(tensor: Tensor) -> bool:
    """Whether a tensor is on the emulated GPU."""
    return getattr(tensor.untyped_storage(), "on_gpu", False)


def tensors_of(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and not leaf.is_meta]


def mark(tree: Any) -> Any:
    """Say of all tensors in it that they are on the GPU."""
    for tensor in tensors_of(tree):
        tensor.untyped_storage().on_gpu = True
    return tree


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor itself if it is on that device, else a copy that is."""
    if on_gpu(tensor) == (device.type == "cuda"):
        return tensor
    with torch.utils._python_dispatch._disable_current_modes():
        copied = tensor.clone(memory_format=torch.preserve_format)
    return mark(copied) if device.type == "cuda" else copied


class Operations(TorchDispatchMode):
    """Refuses operations that a GPU would refuse; outputs are where the inputs are."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        leaves = tree_leaves((args, kwargs))
        inputs = tensors_of(leaves)
        if func.overloadpacket.__name__ in COPIES or not any(map(on_gpu, inputs)):
            return func(*args, **(kwargs or {}))
        if any(isinstance(leaf, torch.Generator) for leaf in leaves):
            raise RuntimeError(f"{func}: a CPU generator for a tensor of the {NAME}")
        check_kernel(func)
        check_devices(func, inputs)
        return mark(func(*args, **(kwargs or {})))


def check_kernel(func: Any) -> None:
    """Raise where CUDA has no kernel, or none that is deterministic though one must be."""
    if func.namespace == "sbs":
        raise NotImplementedError(f"{func} has no kernel for the {NAME}")
    name = func.overloadpacket.__name__
    refused = {name, f"{name}.{func._overloadname}"} & NOT_DETERMINISTIC
    if refused and torch.are_deterministic_algorithms_enabled():
        raise RuntimeError(f"{func} does not have a deterministic implementation")


def check_devices(func: Any, inputs: Sequence[Tensor]) -> None:
    """Raise where CUDA would not take these tensors together."""
    indexing = func.overloadpacket.__name__ in INDEXING and on_gpu(inputs[0])
    if indexing or all(map(on_gpu, inputs)):
        return
    scalars = all(on_gpu(tensor) or tensor.dim() == 0 for tensor in inputs)
    written = func._schema.is_mutable and not on_gpu(inputs[0])
    if torch.Tag.pointwise in func.tags and scalars and not written:
        return
    shapes = [f"{'cuda' if on_gpu(t) else 'cpu'} {tuple(t.shape)}" for t in inputs]
    raise RuntimeError(f"{func}: expected all tensors on one device, found {shapes}")


class Devices(TorchFunctionMode):
    """Answers all questions about devices as if there were a GPU.

    Args:
        default: whether factories without ``device`` make tensors on the GPU.
    """

    def __init__(self, *, default: bool = False) -> None:
        super().__init__()
        self.default = default

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return GPU if on_gpu(args[0]) else func(*args)
        if func == Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return on_gpu(args[0])
        if func in (Tensor.numpy, Tensor.__array__) and on_gpu(args[0]):
            raise TypeError(f"cannot convert a tensor of the {NAME} to NumPy; use cpu() first")
        if func is Tensor.cpu:
            return moved(args[0], CPU)
        if func is Tensor.cuda:
            return moved(args[0], GPU)
        if func is Tensor.to:
            return self._to(*args, **kwargs)
        if func in (Tensor.__deepcopy__, Tensor.new_tensor) and "device" not in kwargs:
            result = func(*args, **kwargs)
            return mark(result) if on_gpu(args[0]) else result
        return self._made(func, args, kwargs)

    def _to(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        device = kwargs.get("device")
        if args and isinstance(args[0], str | torch.device):
            device, args = args[0], (CPU, *args[1:])
        elif args and isinstance(args[0], Tensor):
            device = GPU if on_gpu(args[0]) else CPU
        if "device" in kwargs:
            kwargs["device"] = None if device is None else CPU
        result = tensor.to(*args, **kwargs)
        return result if device is None else moved(result, torch.device(device))

    def _made(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        device = kwargs.get("device")
        if device is None and self.default and func in _device_constructors():
            device = GPU
        if device is None or torch.device(device).type == "meta":
            return func(*args, **kwargs)
        on = torch.device(device).type == "cuda"
        if on and kwargs.get("generator") is not None:
            raise RuntimeError(f"{func}: a CPU generator for a tensor of the {NAME}")
        result = func(*args, **(kwargs | {"device": CPU}))
        for tensor in tensors_of(result):
            tensor.untyped_storage().on_gpu = on
        return result


@contextmanager
def emulated_gpu(*, default: bool = False) -> Iterator[None]:
    """As on a machine with a GPU; ``default`` makes it the default device of factories."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    with pytest.MonkeyPatch.context() as patch, Devices(default=default), Operations():
        patch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.accelerator, "is_available", lambda: False)  # asked by optimizers
        patch.setattr(torch.cuda, "synchronize", lambda device=None: None)
        patch.setattr(torch.cuda, "get_device_name", lambda device=None: NAME)
        patch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: 1)
        patch.setattr(torch, "compile", lambda function, **options: function)
        compiled.cache_clear()
        try:
            yield
        finally:
            compiled.cache_clear()  # they were not compiled
            torch.use_deterministic_algorithms(deterministic)
