"""Options that several commands of the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Network = Annotated[str, typer.Option(help="Network name, such as resnet20.")]
ThisNetwork = Annotated[str, typer.Argument(help="Network name, such as resnet56.")]
Method = Annotated[str, typer.Option(help="Method name, such as sbs or fixed4.")]
Variant = Annotated[str, typer.Option(help="Label of a row of the experiments sheet.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
ScaleName = Annotated[str, typer.Option(help="Name of the scale; recorded.")]
Settings = Annotated[str, typer.Option(help="A scale file, or the stage's sections as JSON.")]
Data = Annotated[Path, typer.Option(help="Dataset file that `sbs fetch` wrote.")]
Resume = Annotated[
    Path | None,
    typer.Option(help="Folder for the state of a run in progress; default: beside the record."),
]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads, of all processes.")]
Processes = Annotated[
    int,
    typer.Option(min=1, help="Processes that divide every batch; each has a GPU of its own."),
]
OfPaper = Annotated[int | None, typer.Option(help="Default: of the paper's dataset.")]
Channels = Annotated[int, typer.Option(help="Colour channels of the image.")]
Output = Annotated[Path, typer.Option(help="Where to write this output.")]
Input = Annotated[Path, typer.Option(help="Where to read this input.")]
