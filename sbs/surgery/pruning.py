"""Remove pruned filters from a plain network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sbs.networks import Prunable
from sbs.policy import Policy


def remove_filters(model: nn.Module, prunables: Iterable[Prunable], policy: Policy) -> None:
    """Remove the pruned filters from a plain network, with everything that depends on them."""
    read: dict[str, set[int]] = defaultdict(set)
    normalized: dict[str, set[int]] = defaultdict(set)
    for prunable in prunables:
        kept = policy.layers[prunable.layer].kept
        if kept is None:
            continue
        layer = model.get_submodule(prunable.layer)
        assert isinstance(layer, nn.Conv1d | nn.Conv2d)
        removed = sorted(set(range(layer.out_channels)) - set(kept))
        for name in (prunable.layer, *prunable.producers):
            _keep_outputs(model.get_submodule(name), torch.tensor(kept, device=layer.weight.device))
        for span in prunable.norms:
            normalized[span.name].update(span.places(removed))
        for span in prunable.consumers:
            read[span.name].update(span.places(removed))
    # Only now: several convolutions can take channels from one module.
    for name, places in normalized.items():
        _remove_channels(model.get_submodule(name), places)
    for name, places in read.items():
        _remove_inputs(model.get_submodule(name), places)


def _keep_outputs(layer: nn.Module, index: Tensor) -> None:
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    if layer.groups == layer.out_channels > 1:  # depthwise
        layer.groups = layer.in_channels = len(index)
    layer.out_channels = len(index)
    layer.weight = _part(layer.weight, index)
    if layer.bias is not None:
        layer.bias = _part(layer.bias, index)


def _remove_inputs(layer: nn.Module, places: set[int]) -> None:
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)
    kept = _others(places, layer.weight.shape[1], layer.weight.device)
    layer.weight = _part(layer.weight, (slice(None), kept))
    if isinstance(layer, nn.Linear):
        layer.in_features = len(kept)
    else:
        layer.in_channels = len(kept)


def _remove_channels(norm: nn.Module, places: set[int]) -> None:
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    tensors = {**norm._parameters, **norm._buffers}
    device = next(value.device for value in tensors.values() if value is not None)
    kept = _others(places, norm.num_features, device)
    norm.num_features = len(kept)
    for name, value in tensors.items():
        if value is None or not value.dim():  # not affine, without statistics; the step counter
            continue
        of_buffer = name in norm._buffers
        setattr(norm, name, value.detach()[kept] if of_buffer else _part(value, kept))


def _part(parameter: Tensor, index: Tensor | tuple[slice, Tensor]) -> nn.Parameter:
    """Part of a parameter; what is frozen stays so."""
    return nn.Parameter(parameter.detach()[index], requires_grad=parameter.requires_grad)


def _others(places: set[int], count: int, device: torch.device) -> Tensor:
    return torch.tensor([one for one in range(count) if one not in places], device=device)
