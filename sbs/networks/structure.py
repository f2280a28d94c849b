"""Facts of a network that surgery, cost and search need, derived from its graph.

Which filters are the same channels and who reads them, which inputs can be negative, and which
layers read the image or output the result.

Libraries for pruning derive such groups too. torch-kirigami 0.2.1 finds the same ones
(tests/test_structure.py compares). But it needs an example input, and seconds for a network, where
jobs of the default scale take seconds in all. It knows nothing of signs, of batch norms that undo a
scale, and of the layers that read the image.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from weakref import WeakKeyDictionary

from torch import nn

from sbs.errors import SBSError
from sbs.networks.graph import graph_of, in_mode
from sbs.networks.walk import Structure, Walk

__all__ = ["Structure", "structure_of"]

UNTRACED = "torch.fx cannot trace the training pass, which may read its outputs elsewhere"

_STRUCTURES: WeakKeyDictionary[nn.Module, Structure] = WeakKeyDictionary()


def structure_of(model: nn.Module) -> Structure:
    """Facts of a plain network; derived once for each network.

    They are those of its evaluation. What training computes besides it, such as auxiliary outputs,
    stays as it is, and so do filters that it reads elsewhere.

    Args:
        model: the network; not changed.

    Raises:
        SBSError: the network cannot be traced.
    """
    if model not in _STRUCTURES:
        _STRUCTURES[model] = _derived(model)
    return _STRUCTURES[model]


def _derived(model: nn.Module) -> Structure:
    with in_mode(model, training=False):
        traced = graph_of(model)
    evaluated = Walk(model, traced).structure()
    try:
        with in_mode(model, training=True):
            in_training = graph_of(model)
    except SBSError:
        return _kept(evaluated, {one.layer for one in evaluated.prunables}, UNTRACED)
    if str(traced.graph) == str(in_training.graph):
        return evaluated
    return _of_both(evaluated, Walk(model, in_training).structure())


def _kept(structure: Structure, layers: Collection[str], reason: str) -> Structure:
    """The same, but some convolutions lose no filters."""
    return replace(
        structure,
        prunables=tuple(one for one in structure.prunables if one.layer not in layers),
        whole=structure.whole | dict.fromkeys(layers, reason),
    )


def _of_both(evaluated: Structure, trained: Structure) -> Structure:
    """What holds in both modes."""
    other = {one.layer for one in set(evaluated.prunables) - set(trained.prunables)}
    only = set(trained.layers) - set(evaluated.layers)
    return replace(
        _kept(evaluated, other, "training reads its outputs elsewhere"),
        alone=evaluated.alone | dict.fromkeys(only, "only training uses it"),
        opaque=trained.opaque | evaluated.opaque,
        signed=evaluated.signed | (trained.signed - only),
        normalized=evaluated.normalized & trained.normalized,
        first=evaluated.first | (trained.first - only),
    )
