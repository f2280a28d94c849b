"""Compressed networks as files: packed integer codes with their scales, and a JSON header.

The file is safetensors with a checksum (:mod:`sbs.runtime.tensor_files`). The header is stored as
its facts: network, policy, normalisation of the images, and for every quantized layer its bitwidth,
shape and grid. A tensor ``<layer>.codes`` holds packed codes (:mod:`sbs.quantization.packing`).
Other tensors, such as those of batch norms, are stored in single precision.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from sbs.config.settings import Normalization
from sbs.errors import SBSError
from sbs.export.codes import Codes, layers_of, weight_codes
from sbs.networks import NetworkSpec, get_spec
from sbs.nn.quantizers import get_quantizer
from sbs.policy import Policy
from sbs.quantization.grid import WeightGrid
from sbs.quantization.packing import pack, unpack
from sbs.registry.networks import networks
from sbs.runtime.checkpoints import normalization_facts
from sbs.runtime.tensor_files import FACTS, read_tensors, save_tensors
from sbs.surgery.networks import quantized_network

KIND = "export"
CODES = ".codes"
REMEDY = "export the network again"
VERSION = 2


@dataclass(frozen=True)
class Sizes:
    """Sizes of an exported network, in bytes.

    Attributes:
        claimed: weights according to the cost model, ``elements x bits / 8``; unit of Table 2.
        packed: packed weights.
        file: the whole file, with batch norms, ranges and header.
    """

    claimed: float
    packed: int
    file: int

    def __str__(self) -> str:
        """What `sbs export` prints."""
        return (
            f"weights {self.claimed / 1e3:.1f} KB by the cost model, {self.packed / 1e3:.1f} KB "
            f"packed; file {self.file / 1e3:.1f} KB"
        )


@dataclass(frozen=True)
class Content:
    """What an exported file holds.

    Attributes:
        model: the network, for inference.
        policy: its policy.
        codes: codes of its weights, by layer.
    """

    model: nn.Module
    policy: Policy
    codes: dict[str, Codes]


def export(
    model: nn.Module, policy: Policy, path: Path, normalization: Normalization | None = None
) -> Sizes:
    """Write the network of a policy, atomically.

    Args:
        model: network of :func:`sbs.surgery.networks.quantized_network`, with trained weights.
        policy: its policy.
        path: file to write.
        normalization: of the network's input images; None stores none.

    Raises:
        SBSError: weights are not on the grid of their bitwidth.
    """
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    quantizer = get_quantizer(policy.quantizer)
    codes = weight_codes(model, policy)
    grids = {name: one.grid for name, one in codes.items()}
    tensors = {name + CODES: pack(one.values, one.grid.bits) for name, one in codes.items()}
    for name in codes:
        state.pop(quantizer.weight_key(name))
    packed = sum(words.nbytes for words in tensors.values())
    header = {
        "kind": KIND,
        "version": VERSION,
        "policy": policy.model_dump(mode="json"),
        **_build_facts(model, policy),
        "layers": {name: asdict(grid) for name, grid in grids.items()},
    }
    save_tensors(tensors | state, path, header | normalization_facts(normalization))
    claimed = sum(grid.bits * torch.Size(grid.shape).numel() / 8 for grid in grids.values())
    return Sizes(claimed, packed, path.stat().st_size)


def load(path: str | Path, plain: nn.Module | None = None) -> nn.Module:
    """Load the network of an exported file, for inference, with decoded weights.

    Args:
        path: packed file, as ``result.save`` or ``sbs export`` writes it.
        plain: the network before compression, with any weights; not changed. Not needed for the
            project's own networks.

    Raises:
        SBSError: the file is missing, damaged, not a packed network, or of another network.
    """
    return read(Path(path), plain).model


def read(path: Path, plain: nn.Module | None = None) -> Content:
    """Read an exported file: its network as from :func:`load`, and what the weights were made of.

    Args:
        path: as above.
        plain: as above.

    Raises:
        SBSError: as above.
    """
    header, tensors = read_tensors(path, "export", REMEDY)
    if header.get("kind") != KIND:
        raise SBSError(f"{path}: not an exported network; write one with `sbs export`")
    if header["version"] != VERSION:
        raise SBSError(
            f"{path}: format {header['version']}, but this version reads {VERSION}; {REMEDY}"
        )
    try:
        policy = Policy.model_validate(header["policy"])
        model = _network(path, header, policy, plain)
        layers, quantizer = layers_of(model), get_quantizer(policy.quantizer)
        codes: dict[str, Codes] = {}
        for name, fields in header["layers"].items():
            grid = WeightGrid(**(fields | {"shape": tuple(fields["shape"])}))
            flat = unpack(tensors.pop(name + CODES), grid.bits, torch.Size(grid.shape).numel())
            codes[name] = Codes(grid, flat.view(grid.shape))
            tensors[quantizer.weight_key(name)] = codes[name].weights
            quantizer.hold_quantized(layers[name])
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise SBSError(f"{path}: damaged export ({error}); {REMEDY}") from error
    return Content(model.eval(), policy, codes)


def _build_facts(model: nn.Module, policy: Policy) -> dict[str, int]:
    """What building the network takes besides its name; nothing for a network without one."""
    if policy.network not in networks():
        return {}
    layers, spec = layers_of(model), get_spec(policy.network)
    return {
        "classes": layers[spec.last_layer].weight.shape[0],
        "in_channels": layers[spec.first_layer].weight.shape[1],
    }


def _network(
    path: Path, header: dict[str, Any], policy: Policy, plain: nn.Module | None
) -> nn.Module:
    """The network of the policy, with any weights."""
    if plain is not None:
        return quantized_network(copy.deepcopy(plain).cpu(), NetworkSpec(policy.network), policy)
    if policy.network not in networks():
        raise SBSError(
            f"{path}: {policy.network} is no network of this project; give the network before "
            "compression too: sbs.load(path, model), sbs verify --model my_module:my_function"
        )
    spec = get_spec(policy.network)
    return quantized_network(spec.build(header["classes"], header["in_channels"]), spec, policy)


def is_export(path: Path) -> bool:
    """Whether :func:`export` wrote the file, judged by its header."""
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})[FACTS])
    except (SafetensorError, OSError, KeyError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("kind") == KIND
