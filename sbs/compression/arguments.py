"""Arguments of a compression besides the network, its data and the target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sbs.config.arguments import Candidates

Function = Callable[..., Any]


class Arguments(Candidates):
    """Keyword arguments of :func:`sbs.compress`, which explains them."""

    loss: Function
    val_loader: Any
    metric: Function | None
    example_input: Any
    epochs: int = Field(ge=0)
    search_epochs: int | None = Field(ge=0)
    learning_rate: float = Field(gt=0)
    optimizer: Function | None
    schedule: Any
    quantize: bool
    prune: bool
    seed: int
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    checkpoint: Path | None
    callbacks: tuple[Function, ...]
    verbose: bool
