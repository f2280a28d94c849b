"""The network of a policy, from weights of the plain or of the compressed network."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from sbs.networks import NetworkSpec
from sbs.nn.quantizers import get_quantizer
from sbs.policy import Policy
from sbs.runtime import checkpoints
from sbs.surgery.intervals import fit_intervals, sample_inputs_of
from sbs.surgery.networks import quantized_layers, quantized_network, split_intervals


def with_state(
    model: nn.Module,
    spec: NetworkSpec,
    policy: Policy,
    state: dict[str, Tensor],
    source: str,
    *,
    fit_by: Callable[[nn.Module], object] | None = None,
) -> nn.Module:
    """The network of a policy with these weights, and its intervals if it has any.

    Args:
        model: the plain network.
        spec: description of the network.
        policy: bitwidths and kept filters.
        state: unpruned weights, or weights of the compressed network itself.
        source: where they are from, for messages.
        fit_by: runs the plain network on a batch, to fit the intervals on after the weights are
            loaded; needs unpruned weights. None: take the intervals of ``state``, or 1.

    Raises:
        SBSError: weights and policy do not fit the network.
    """
    if get_quantizer(policy.quantizer).own_layout:
        model = quantized_network(model, spec, policy)
        checkpoints.load_into(model, state, source)
        return model
    plain, intervals = split_intervals(state)
    own = model.state_dict()
    unpruned = all(own[name].shape == plain[name].shape for name in own.keys() & plain.keys())
    if unpruned:
        checkpoints.load_into(model, plain, source)
    inputs = None if fit_by is None else sample_inputs_of(model, fit_by)
    model = quantized_network(model, spec, policy)
    rest = intervals if unpruned else state
    checkpoints.load_into(model, model.state_dict() | rest, source)
    if inputs is not None:
        fit_intervals(quantized_layers(model), inputs)
    return model
