"""What operations do to the dimensions of a tensor, from the arguments of their nodes."""

from __future__ import annotations

import operator
from typing import Any

from torch import fx
from torch.nn import functional as F

from sbs.networks import operations as known


def flattens(node: fx.Node) -> bool:
    """Whether all dimensions but the first become one."""
    if node.target in known.FLATTENING:
        start, end = _argument(node, 1, "start_dim", 0), _argument(node, 2, "end_dim", -1)
        return bool(start == 1 and end == -1)
    if node.target not in known.RESHAPES or len(node.args) != 3:
        return False
    return bool(node.args[2] == -1) and _is_first_size(node.args[1])


def _is_first_size(value: Any) -> bool:
    """Whether a value is the size of a tensor's first dimension."""
    if not isinstance(value, fx.Node):
        return False
    if value.target == "size":
        return bool(_argument(value, 1, "dim", None) == 0)
    if value.target is not operator.getitem:
        return False
    sizes, place = value.args
    of_shape = isinstance(sizes, fx.Node) and _attribute(sizes) == "shape"
    of_size = isinstance(sizes, fx.Node) and sizes.target == "size" and len(sizes.args) == 1
    return (of_shape or of_size) and isinstance(place, int) and place == 0


def is_no_tensor(node: fx.Node) -> bool:
    """Whether the result is a size, or another fact of a tensor."""
    return node.target in known.SIZES or _attribute(node) in known.FACTS


def subtracts(node: fx.Node) -> bool:
    """Whether a sum can be negative although nothing in it is."""
    return node.target in known.DIFFERENCES or "alpha" in node.kwargs or len(node.args) > 2


def overshoots(node: fx.Node) -> bool:
    """Whether an interpolation makes values outside of those that it is given."""
    return node.target is F.interpolate and _argument(node, 3, "mode", "") in known.OVERSHOOTING


def averages(node: fx.Node, rank: int) -> bool:
    """Whether the mean over all dimensions behind the channels is taken.

    Args:
        node: the operation.
        rank: dimensions of its input.
    """
    over = _argument(node, 1, "dim", ())
    places = (over,) if isinstance(over, int) else over
    if node.target not in known.MEANS or not all(isinstance(place, int) for place in places):
        return False
    return {place % rank for place in places} == set(range(2, rank)) and rank > 2


def keeps_dimensions(node: fx.Node) -> bool:
    """Whether dimensions of size 1 remain where a mean was taken."""
    return bool(_argument(node, 2, "keepdim", False))


def pads_places(node: fx.Node, rank: int) -> bool:
    """Whether zeros, or values of the tensor, are put around its channels."""
    widths = _argument(node, 1, "pad", None)
    value = _argument(node, 3, "value", None)
    behind = isinstance(widths, tuple | list) and len(widths) <= 2 * (rank - 2)
    return node.target is F.pad and behind and value in (None, 0)


def concatenates_channels(node: fx.Node, rank: int) -> bool:
    """Whether tensors of a rank are put together along their channels."""
    along = _argument(node, 1, "dim", 0)
    return isinstance(along, int) and along % rank == 1


def _attribute(node: fx.Node) -> str | None:
    """The attribute that is read; None if the node is something else."""
    return str(node.args[1]) if node.target is getattr else None


def _argument(node: fx.Node, place: int, name: str, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)
