"""Batches of any form: tensors, and tuples, lists and dictionaries of them.

The workflow's are pairs of images and labels. A data loader can give anything else, with an
objective that knows what to do with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from torch import Tensor

from sbs.errors import SBSError

Batch: TypeAlias = Any


def mapped(batch: Batch, function: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with a function of each tensor in its place."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, dict):
        return {key: mapped(value, function) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(mapped(one, function) for one in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(mapped(one, function) for one in batch)
    return batch


def tensors_of(batch: Batch) -> list[Tensor]:
    """All tensors of a batch, in their order."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    mapped(batch, note)
    return found


def size_of(batch: Batch) -> int:
    """Number of items: the first dimension of the first tensor; 1 if there is none."""
    first = next((one for one in tensors_of(batch) if one.dim()), None)
    return 1 if first is None else len(first)


def parts(batch: Batch, number: int) -> Iterator[Batch]:
    """A batch in at most ``number`` parts of nearly equal size.

    Raises:
        SBSError: there have to be parts, and a tensor does not have a row for each item.
    """
    items = size_of(batch)
    number = min(number, items)
    if number <= 1:
        yield batch
        return
    if any(not one.dim() or len(one) != items for one in tensors_of(batch)):
        raise SBSError(
            "runtime.accumulation: batches are split into parts, but not all tensors of a batch "
            "have a row for each item; take 1"
        )
    for place in range(number):
        yield mapped(batch, lambda tensor, place=place: tensor.tensor_split(number)[place])  # type: ignore[misc]
