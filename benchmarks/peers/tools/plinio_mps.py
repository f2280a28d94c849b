"""PLiNIO: mixed-precision search by gradients, with a cost as a soft constraint."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from benchmarks.peers.exporter import tracing_exporter
from benchmarks.peers.start import Start
from benchmarks.peers.tool import Found, Job, TimedTask, Tool
from benchmarks.peers.training import FOLDED, adam, train
from sbs.training.batch import Batch
from sbs.training.classification import Classification
from sbs.training.recipe import cross_entropy

CANDIDATES = (2, 4, 8)
COST = "bops"
CHOICE_TRAVEL = 3.0
"""Learning rate of the choices times steps, as of our thresholds: how far they can move."""

LOSS_BATCHES = 10
"""Training batches that the loss of the trained network is measured on."""


class Search:
    """PLiNIO's loop as a task: cross-entropy plus its regularizer."""

    def __init__(self, model: Any, regularizer: Any, start: Start, epochs: int) -> None:
        """Set up the optimizers.

        Args:
            model: network of ``MPS``.
            regularizer: PLiNIO's, called with the epoch.
            start: recipe.
            epochs: length of the search.
        """
        self.model: nn.Module = model
        settings, self._steps = start.recipe(epochs), len(start.batches())
        weights = [{"params": [one for _, one in model.named_net_parameters()]}]
        choices = [one for _, one in model.named_nas_parameters()]
        rate = CHOICE_TRAVEL / (epochs * self._steps)
        self.optimizers: Sequence[Optimizer] = [adam(weights, settings), Adam(choices, lr=rate)]
        self._regularizer, self._epochs = regularizer, epochs
        self._iteration = 0

    def before_forward(self, iteration: int) -> None:
        """Note where the search is."""
        self._iteration = iteration

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy plus the regularizer."""
        entropy = cross_entropy(self.model, batch)  # first: it also samples what the cost reads
        # The strength rises over epochs; a fraction makes it rise in short searches too.
        epoch = self._iteration / self._steps
        penalty: Tensor = self._regularizer(self.model, epoch, self._epochs)
        return entropy + penalty

    def epoch_summary(self) -> dict[str, float]:
        """Cost of the mixture."""
        return {"cost": float(self.model.get_cost(COST))}  # type: ignore[operator]

    def state_dict(self) -> dict[str, Any]:
        """What the regularizer computed at its first call."""
        strengths = self._regularizer.final_strengths
        return {"strengths": None if strengths is None else dict(strengths)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self._regularizer.final_strengths = state["strengths"]


def compress(job: Job) -> Found:
    """Search, export, and train what was exported."""
    start, epochs = job.start, job.start.epochs
    with job.meter.part("search", "set-up"):
        model = _search_network(start)
        task = Search(model, _constraint(start, job.target), start, epochs)
    train(job, "plinio", model, "search", epochs, task=task, channels_last=False)
    mixture = float(model.get_cost(COST))
    model.eval()
    with torch.no_grad():
        model(torch.zeros(1, *start.dataset.image))  # takes the likeliest bits
    own = float(model.get_cost(COST))
    policy = start.policy(_bits(model.summary(), start))
    found = model.export()
    train(job, "plinio", found, "training", epochs, recipe=FOLDED, channels_last=False)
    found.eval()
    return Found(
        found,
        policy,
        {"onnx": partial(_export, found, tuple(start.dataset.image))},
        channels_last=False,
        own_cost=own,
        notes=(f"cost of the mixture at the end of the search: {mixture / 1e6:.1f} M",),
    )


def _search_network(start: Start) -> Any:
    from plinio.cost import ops_bit
    from plinio.methods.mps import MPS, MPSType, get_default_qinfo
    from plinio.methods.mps.quant.quantizers import PACTActSigned

    qinfo = get_default_qinfo(w_precision=CANDIDATES, a_precision=CANDIDATES)
    images = start.calibration()[0]
    qinfo["input_default"] = {
        "quantizer": PACTActSigned,
        "search_precision": (8,),
        "kwargs": {
            "init_clip_val_inf": float(images.min()),
            "init_clip_val_sup": float(images.max()),
        },
    }
    for name in start.ends:
        qinfo[name] = copy.deepcopy(qinfo["layer_default"])
        qinfo[name]["weight"]["search_precision"] = (8,)
    return MPS(
        start.network(),
        input_shape=tuple(start.dataset.image),
        qinfo=qinfo,
        w_search_type=MPSType.PER_LAYER,
        cost={COST: ops_bit},
    )


def _constraint(start: Start, target: float) -> Any:
    """PLiNIO's regularizer for a target; the loss of the trained network sets its strength."""
    from plinio.regularizers import DUCCIO

    model = start.network().eval()
    with torch.no_grad():
        losses = [
            float(F.cross_entropy(model(images), labels))
            for images, labels in islice(start.batches().epoch(0), LOSS_BATCHES)
        ]
    return DUCCIO({COST: target}, task_loss=sum(losses) / len(losses))


def _bits(summary: Mapping[str, Mapping[str, Any]], start: Start) -> dict[str, tuple[int, int]]:
    """Bits of weights and inputs, by layer."""
    return {
        shape.name: (
            int(summary[shape.name]["w_precision"]),
            int(summary[shape.name]["in_precision"]),
        )
        for shape in start.shapes
    }


def _export(model: nn.Module, image: tuple[int, ...], folder: Path) -> None:
    from plinio.methods.mps.quant.backends import Backend, integerize_arch
    from plinio.methods.mps.quant.backends.onnx import ONNXExporter

    options = {"shift_pos": 16, "scale_bit": 24, "dequantize_output": True}
    whole = integerize_arch(copy.deepcopy(model), Backend.ONNX, backend_kwargs=options)
    with tracing_exporter():
        ONNXExporter().export(whole, (1, *image), folder)


def _steps(start: Start) -> dict[str, TimedTask]:
    model = _search_network(start)
    found = copy.deepcopy(model).eval().export()
    search = Search(model, _constraint(start, start.target(4)), start, 1)
    return {
        "PLiNIO, search": TimedTask(search, channels_last=False),
        "PLiNIO, training": TimedTask(
            Classification(found, start.recipe(1), FOLDED), channels_last=False
        ),
    }


TOOL = Tool(
    name="plinio",
    label="PLiNIO",
    how="gradient search",
    configured="`MPS(model, input_shape, qinfo, cost=ops_bit)` with 2, 4 and 8 bits for each "
    "layer's weights and outputs, ends at 8 "
    "([MPS](https://github.com/eml-eda/plinio/blob/main/plinio/methods/mps/README.md)); the target "
    "by its regularizer for constraints, `DUCCIO`, whose strength follows from the loss "
    "([regularizers](https://github.com/eml-eda/plinio/blob/main/plinio/regularizers/README.md)); "
    "it folds batch norms, so Adam trains weights, and a second Adam without weight decay "
    "the choices "
    "([example](https://github.com/eml-eda/plinio/blob/main/examples/channel_pruning_pit.ipynb)); "
    "the example's rate of the choices is for 100 epochs, here it is 3 over the steps, as for our "
    "thresholds. Then `export()`, training, `integerize_arch` and `ONNXExporter` "
    "([example](https://github.com/eml-eda/plinio/blob/main/examples/qat.ipynb)). The search by "
    "channels, which also prunes, is left out: its documentation says that its export crashes.",
    better="costs of real chips (MPIC, NE16, DIANA, GAP8), several constraints at once, and an "
    "export to integers only.",
    packages=("plinio",),
    compress=compress,
    steps=_steps,
)
