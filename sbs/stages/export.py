"""Trained networks of a policy as packed files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sbs.errors import SBSError
from sbs.export.packed import Sizes, export
from sbs.networks import get_spec
from sbs.policy import Policy
from sbs.runtime import checkpoints
from sbs.stages.finetune import with_weights


def run(policy: Path, weights: Path, output: Path) -> Sizes:
    """Write the network of a policy and its weights as :func:`sbs.export.packed.export` does."""
    chosen = Policy.load(policy)
    state = checkpoints.read_weights(weights)
    spec = get_spec(chosen.network)
    in_channels = _weight(state, spec.first_layer, weights).shape[1]
    classes = _weight(state, spec.last_layer, weights).shape[0]
    plain = spec.build(classes, in_channels)
    model = with_weights(plain, spec, chosen, weights)
    return export(model.eval(), chosen, output)


def _weight(state: Mapping[str, Tensor], layer: str, source: Path) -> Tensor:
    for key in (f"{layer}.weight", f"{layer}.parametrizations.weight.original"):
        if key in state:
            return state[key]
    raise SBSError(f"{source}: no weights of layer {layer!r}; is this the policy's own network?")
