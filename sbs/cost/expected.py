"""The differentiable cost R(α) of Eq. 13, for any cost model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch

from sbs.cost.closed_form import ClosedFormCost
from sbs.cost.interpolated import InterpolatedCost
from sbs.cost.layers import LayerShape
from sbs.registry.costs import cost_model
from sbs.surgery.search import SearchSpace

ExpectedCost: TypeAlias = ClosedFormCost | InterpolatedCost


def expected_cost(
    space: SearchSpace,
    shapes: Sequence[LayerShape],
    resource: str,
    *,
    propagate: bool,
    device: torch.device,
) -> ExpectedCost:
    """R(α) of a search network: a function of its gates, differentiable in them.

    Args:
        space: the search network.
        shapes: shapes of its unpruned layers.
        resource: name of a cost model.
        propagate: also count what layers save when their input channels are pruned. Eq. 14 counts
            only the pruned filters themselves.
        device: device of the gates.
    """
    chosen = ClosedFormCost if cost_model(resource).closed_form else InterpolatedCost
    return chosen(space, shapes, resource, propagate=propagate, device=device)
