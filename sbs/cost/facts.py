"""Layers and prunable filters of a registered network, without importing PyTorch.

The workflow checks cost targets before it runs anything. Tracing a network needs PyTorch, so a
separate process traces it, once per version of the network's code, and caches the result.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from sbs.cost.layers import LayerShape
from sbs.errors import SBSError
from sbs.networks.prunable import Prunable
from sbs.provenance.code import source_digest
from sbs.provenance.files import atomic_write_text, sha256_of_text
from sbs.registry.discovery import PACKAGE
from sbs.registry.networks import network
from sbs.runtime.cache import cache_folder


class NetworkFacts(BaseModel):
    """Facts of a network that the cost models need.

    Attributes:
        layers: shapes of the unpruned layers, in forward order.
        prunables: its prunable convolutions.
    """

    model_config = ConfigDict(frozen=True)

    layers: tuple[LayerShape, ...]
    prunables: tuple[Prunable, ...]


def network_facts(name: str, image: tuple[int, int, int], classes: int) -> NetworkFacts:
    """Facts of a network, for images of the given shape.

    Args:
        name: a registered network.
        image: (C, H, W).
        classes: number of classes.

    Raises:
        SBSError: the network cannot be built or cannot read such images.
    """
    path = _path(name, image, classes)
    try:
        return NetworkFacts.model_validate_json(path.read_text())
    except (OSError, ValidationError):
        _trace_elsewhere(name, image, classes, path)
    return NetworkFacts.model_validate_json(path.read_text())


def _path(name: str, image: tuple[int, int, int], classes: int) -> Path:
    code = source_digest(__name__, "sbs.cost.trace", network(name).module)
    key = f"{name} {image} {classes} {code} {version('torch')} {version('torchvision')}"
    return cache_folder() / "networks" / f"{sha256_of_text(key)[:16]}.json"


def _trace_elsewhere(name: str, image: tuple[int, int, int], classes: int, path: Path) -> None:
    words = [name, *map(str, image), str(classes), str(path)]
    # The same package as here, whatever the working folder holds.
    folders = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SBSError(f"network {name!r} with images of shape {image}: {reason}")


def main(words: list[str]) -> None:
    """Trace a network and write its facts.

    Args:
        words: name, C, H, W, classes, file to write.
    """
    from sbs.cost.trace import trace_layers
    from sbs.networks import get_spec

    name, *numbers, path = words
    channels, height, width, classes = map(int, numbers)
    spec = get_spec(name)
    model = spec.build(classes, channels)
    facts = NetworkFacts(
        layers=trace_layers(model, (channels, height, width)), prunables=spec.prunables(model)
    )
    atomic_write_text(Path(path), facts.model_dump_json())


if __name__ == "__main__":
    main(sys.argv[1:])
