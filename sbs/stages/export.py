"""Export of the trained network of a policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sbs.errors import SBSError
from sbs.export.packed import Sizes, export
from sbs.networks import get_spec
from sbs.nn.quantizers import get_quantizer
from sbs.policy import Policy
from sbs.runtime import checkpoints
from sbs.stages.finetune import with_weights

if TYPE_CHECKING:
    from sbs.export.onnx_file import OnnxSizes

FORMATS = ("packed", "onnx", "qonnx")


def run(
    policy: Path,
    weights: Path,
    output: Path,
    form: str | None = None,
    image_size: int | None = None,
) -> Sizes | OnnxSizes:
    """Export the network of a policy.

    Args:
        policy: file of the policy.
        weights: trained weights of its network.
        output: file to write.
        form: one of :data:`FORMATS`; None: ONNX for a file ``.onnx``, else packed.
        image_size: height and width of the images, for ONNX; None: of the paper's dataset.

    Raises:
        SBSError: an unknown format, files that do not fit each other, or see
            :func:`sbs.export.packed.export` and :func:`sbs.export.onnx_file.export_onnx`.
    """
    form = form or ("onnx" if output.suffix == ".onnx" else "packed")
    if form not in FORMATS:
        raise SBSError(f"--format {form}: no such format; use one of {', '.join(FORMATS)}")
    trained = read_trained(policy, weights)
    normalization = checkpoints.read_normalization(weights)
    if form == "packed":
        return export(trained.model, trained.policy, output, normalization)
    # The exporter takes seconds to import.
    from sbs.export.onnx_file import export_onnx
    from sbs.export.qonnx_file import export_qonnx

    write = export_onnx if form == "onnx" else export_qonnx
    example = trained.example(image_size)
    return write(trained.model, trained.policy, (example,), output, normalization)


@dataclass(frozen=True)
class Trained:
    """The trained network of a policy.

    Attributes:
        model: the network, for inference.
        policy: its policy.
        classes: number of classes.
        in_channels: channels of its images.
    """

    model: nn.Module
    policy: Policy
    classes: int
    in_channels: int

    def example(self, image_size: int | None) -> Tensor:
        """One image (1, C, H, W) of this size, or of the size in the paper's dataset."""
        size = image_size or get_spec(self.policy.network).image_size
        return torch.zeros(1, self.in_channels, size, size)


def read_trained(policy: Path, weights: Path) -> Trained:
    """Read a policy and the trained weights of its network.

    Raises:
        SBSError: the files are missing or damaged, or do not fit each other.
    """
    chosen = Policy.load(policy)
    state = checkpoints.read_weights(weights)
    spec = get_spec(chosen.network)
    key = get_quantizer(chosen.quantizer).weight_key
    in_channels = _tensor(state, key(spec.first_layer), weights).shape[1]
    classes = _tensor(state, key(spec.last_layer), weights).shape[0]
    plain = spec.build(classes, in_channels)
    model = with_weights(plain, spec, chosen, weights)
    return Trained(model.eval(), chosen, classes, in_channels)


def _tensor(state: Mapping[str, Tensor], key: str, source: Path) -> Tensor:
    if key not in state:
        raise SBSError(f"{source}: no tensor {key!r}; are these weights of the policy's network?")
    return state[key]
