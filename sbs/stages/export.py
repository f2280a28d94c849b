"""Export of the trained network of a policy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sbs.errors import SBSError
from sbs.export.packed import Sizes, export
from sbs.networks import get_spec
from sbs.nn.quantizers import get_quantizer
from sbs.policy import Policy
from sbs.runtime import checkpoints
from sbs.stages.finetune import with_weights


def run(policy: Path, weights: Path, output: Path) -> Sizes:
    """Export the network of a policy, see :func:`sbs.export.packed.export`."""
    chosen = Policy.load(policy)
    state = checkpoints.read_weights(weights)
    spec = get_spec(chosen.network)
    key = get_quantizer(chosen.quantizer).weight_key
    in_channels = _tensor(state, key(spec.first_layer), weights).shape[1]
    classes = _tensor(state, key(spec.last_layer), weights).shape[0]
    plain = spec.build(classes, in_channels)
    model = with_weights(plain, spec, chosen, weights)
    return export(model.eval(), chosen, output, checkpoints.read_normalization(weights))


def _tensor(state: Mapping[str, Tensor], key: str, source: Path) -> Tensor:
    if key not in state:
        raise SBSError(f"{source}: no tensor {key!r}; are these weights of the policy's network?")
    return state[key]
