"""Remove pruned filters from a plain network."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sbs.networks import Prunable
from sbs.policy import Policy


def remove_filters(model: nn.Module, prunables: Iterable[Prunable], policy: Policy) -> None:
    """Remove the pruned filters from a plain network, with everything that depends on them."""
    for prunable in prunables:
        kept = policy.layers[prunable.layer].kept
        if kept is None:
            continue
        index = torch.tensor(kept, device=next(model.parameters()).device)
        for name in (prunable.layer, *prunable.producers):
            _keep_outputs(model.get_submodule(name), index)
        for name in prunable.norms:
            _keep_channels(model.get_submodule(name), index)
        for name in prunable.consumers:
            _keep_inputs(model.get_submodule(name), index)


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.out_channels > 1


def _keep_outputs(layer: nn.Module, index: Tensor) -> None:
    assert isinstance(layer, nn.Conv2d)
    if _is_depthwise(layer):
        layer.groups = layer.in_channels = len(index)
    layer.out_channels = len(index)
    layer.weight = nn.Parameter(layer.weight.detach()[index])
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[index])


def _keep_inputs(layer: nn.Module, index: Tensor) -> None:
    assert isinstance(layer, nn.Conv2d)
    layer.in_channels = len(index)
    layer.weight = nn.Parameter(layer.weight.detach()[:, index])


def _keep_channels(norm: nn.Module, index: Tensor) -> None:
    assert isinstance(norm, nn.BatchNorm2d)
    norm.num_features = len(index)
    norm.weight = nn.Parameter(norm.weight.detach()[index])
    norm.bias = nn.Parameter(norm.bias.detach()[index])
    for name in ("running_mean", "running_var"):
        norm.register_buffer(name, norm.get_buffer(name)[index])
