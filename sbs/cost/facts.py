"""Layers and prunable filters of a registered network, without importing PyTorch.

The workflow checks cost targets before it runs anything. Tracing networks needs PyTorch, so a
separate process traces them, once per version of a network's code, and the results are cached.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
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
    return facts_of_all([name], image, classes)[name]


def facts_of_all(
    names: Iterable[str], image: tuple[int, int, int], classes: int
) -> dict[str, NetworkFacts]:
    """Like :func:`network_facts` for several networks, by name; those to trace share a process.

    Starting one takes longer than a trace.
    """
    paths = {name: _path(name, image, classes) for name in names}
    found = {name: _cached(path) for name, path in paths.items()}
    missing = {name: paths[name] for name, facts in found.items() if facts is None}
    if missing:
        _trace_elsewhere(missing, image, classes)
    return {name: facts or _read(paths[name]) for name, facts in found.items()}


def _cached(path: Path) -> NetworkFacts | None:
    try:
        return _read(path)
    except (OSError, ValidationError):
        return None


def _read(path: Path) -> NetworkFacts:
    return NetworkFacts.model_validate_json(path.read_text())


def _path(name: str, image: tuple[int, int, int], classes: int) -> Path:
    code = source_digest(__name__, "sbs.cost.trace", network(name).module)
    key = f"{name} {image} {classes} {code} {version('torch')} {version('torchvision')}"
    return cache_folder() / "networks" / f"{sha256_of_text(key)[:16]}.json"


def _trace_elsewhere(missing: dict[str, Path], image: tuple[int, int, int], classes: int) -> None:
    networks = [word for name, path in missing.items() for word in (name, str(path))]
    words = [*map(str, image), str(classes), *networks]
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
        raise SBSError((done.stderr.strip().splitlines() or ["the tracing process died"])[-1])


def main(words: list[str]) -> None:
    """Trace networks and write their facts.

    Args:
        words: C, H, W, classes, then a network and the file to write, and so on.
    """
    channels, height, width, classes = map(int, words[:4])
    for name, path in zip(words[4::2], words[5::2], strict=True):
        image = channels, height, width
        try:
            atomic_write_text(Path(path), _traced(name, image, classes).model_dump_json())
        except Exception as error:  # a network of somebody's own can raise anything
            why = " ".join(str(error).split())
            sys.exit(
                f"network {name!r} with images of shape {image}: {type(error).__name__}: {why}"
            )


def _traced(name: str, image: tuple[int, int, int], classes: int) -> NetworkFacts:
    from sbs.cost.trace import trace_layers
    from sbs.networks import get_spec

    spec = get_spec(name)
    model = spec.build(classes, image[0]).to("meta")  # torchvision has loaded the compiler already
    return NetworkFacts(layers=trace_layers(model, image), prunables=spec.prunables(model))


if __name__ == "__main__":
    main(sys.argv[1:])
