"""Bytes and milliseconds of a compressed network in onnxruntime, beside those before compression.

onnxruntime computes in single precision, decodes the weights in every run, and rounds the inputs of
layers one operator after the other. So a few bits make the file smaller, but the network slower.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import onnxruntime

from sbs.export.onnx_file import export_onnx
from sbs.networks import get_spec
from sbs.policy import FULL_PRECISION, uniform_policy
from sbs.provenance.files import atomic_write_text
from sbs.stages.export import read_trained
from sbs.surgery.layers import leaf_layers
from sbs.surgery.networks import quantized_network

WARM_UP = 10
"""Runs before the first that counts."""


def run(policy: Path, weights: Path, output: Path, image_size: int | None, runs: int) -> None:
    """Export a network and its original in full precision to ONNX; write sizes and times as JSON.

    The original has random weights, on which neither depends.

    Args:
        policy: file of the policy.
        weights: trained weights of its network.
        output: JSON file: bytes of both files, and median milliseconds for one image by one thread.
        image_size: height and width of the image; None: of the paper's dataset.
        runs: number of runs of each network; they take turns.

    Raises:
        SBSError: the files are missing or damaged, or do not fit each other.
    """
    trained = read_trained(policy, weights)
    spec, example = get_spec(trained.policy.network), trained.example(image_size)
    plain = spec.build(trained.classes, trained.in_channels)
    full = uniform_policy(spec.name, leaf_layers(plain), FULL_PRECISION)
    original = quantized_network(plain, spec, full).eval()
    with tempfile.TemporaryDirectory() as folder:
        paths = {"float": Path(folder) / "float.onnx", "onnx": Path(folder) / "network.onnx"}
        export_onnx(original, full, (example,), paths["float"])
        export_onnx(trained.model, trained.policy, (example,), paths["onnx"])
        sizes = {f"{name}_bytes": path.stat().st_size for name, path in paths.items()}
        times = _milliseconds(list(paths.values()), tuple(example.shape), runs)
    found = sizes | {f"{name}_ms": time for name, time in zip(paths, times, strict=True)}
    atomic_write_text(output, json.dumps(found | {"runs": runs}))


def _milliseconds(paths: list[Path], shape: tuple[int, ...], runs: int) -> list[float]:
    """Median time of each network; they take turns, so that other work hits all of them."""
    sessions = [_session(path) for path in paths]
    image = np.zeros(shape, np.float32)
    times: list[list[float]] = [[] for _ in sessions]
    for _ in range(WARM_UP + runs):
        for session, own in zip(sessions, times, strict=True):
            started = perf_counter()
            session.run(None, {session.get_inputs()[0].name: image})
            own.append(1000 * (perf_counter() - started))
    return [median(own[WARM_UP:]) for own in times]


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
