"""Options that several commands of the command line share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from sbs.errors import SBSError


def written_by(command: str) -> Callable[[typer.CallbackParam, Path | None], Path | None]:
    """Callback of an option that reads a file: without the file, the command does not begin.

    Args:
        command: the command that writes such a file, for the message.
    """

    def check(option: typer.CallbackParam, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise SBSError(
                f"{option.opts[0]} {path}: no such file; correct the path, or make it with "
                f"`{command}`"
            )
        return path

    return check


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
Policy = Annotated[
    Path, typer.Option(help="Policy that `sbs search` wrote.", callback=written_by("sbs search"))
]
Trained = Annotated[
    Path,
    typer.Option(help="Weights that `sbs finetune` wrote.", callback=written_by("sbs finetune")),
]
