"""The context of a search on real digits, as a stage would set it up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sbs.config.scale import Scale, stage_settings
from sbs.cost.trace import trace_layers
from sbs.data.augmentation import Augmentation
from sbs.data.batches import TrainBatches
from sbs.data.dataset_files import load_dataset
from sbs.methods.context import SearchContext
from sbs.networks import build_network, get_spec
from sbs.registry.methods import method
from sbs.runtime.progress import Reporter

CPU = torch.device("cpu")
IMAGE = (1, 8, 8)


def context_of(name: str, scale: Scale, digits: Path, resume: Path, **own: Any) -> SearchContext:
    """A search of ResNet-20 by the method ``name``; ``own`` changes keys of its own sections."""
    chosen = method(name)
    settings = stage_settings(scale, "search", {}, name)
    sections = {
        section: kind.model_validate(settings[section] | own)
        for section, kind in chosen.sections.items()
        if section in settings
    }
    dataset = load_dataset(digits)
    torch.manual_seed(0)
    model = build_network("resnet20", 10, 1)

    def batches(size: int) -> TrainBatches:
        augmentation = Augmentation(1, False)
        return TrainBatches(dataset, batch_size=size, augmentation=augmentation, seed=0, device=CPU)

    return SearchContext(
        method=chosen,
        spec=get_spec("resnet20"),
        model=model,
        shapes=trace_layers(model, IMAGE),
        make_batches=batches,
        settings=scale.search,
        sections=sections,
        lowest_bits=chosen.lowest_bits(settings),
        runtime=scale.runtime,
        device=CPU,
        seed=0,
        resume=resume,
        identity={"run": 1},
        reporter=Reporter("test"),
        image=IMAGE,
    )
