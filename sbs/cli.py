"""The command line: what the workflow's rules call, and what a person calls by hand.

PyTorch is imported by the commands that need it, so that the others start at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from sbs import options as o
from sbs.errors import SBSError, naming_extras
from sbs.runtime import allocator
from sbs.warm.client import run_in_server
from sbs.warm.gpus import claim_gpus
from sbs.warm.torchrun import replace_by_torchrun

app = typer.Typer(
    name="sbs",
    help="Single-path bit sharing: pretrain, search, fine-tune and measure compressed networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def fetch(
    dataset: Annotated[str, typer.Argument(help="Dataset name, such as digits or cifar100.")],
    output: o.Output,
    directory: Annotated[
        Path | None, typer.Option(help="Folder with a local copy; default SBS_DATA_DIR.")
    ] = None,
) -> None:
    """Get a dataset, check it, and write it as one file."""
    from sbs.data.fetch import fetch as run

    run(dataset, output, directory)


@app.command()
def unpack(
    files: Annotated[list[Path], typer.Argument(help="Parquet files of the Hugging Face hub.")],
    output: Annotated[Path, typer.Option(help="Folder of a split: imagenet/train, imagenet/val.")],
) -> None:
    """Write images in parquet files as tar files, which the workflow can read them from."""
    from sbs.data.unpacking import unpack as run

    for file in files:
        typer.echo(str(run(file, output)))


@app.command()
def pretrain(
    network: o.Network,
    settings: o.Settings,
    data: o.Data,
    weights: o.Output,
    record: o.Output,
    resume: o.Resume = None,
    seed: o.Seed = 0,
    scale: o.ScaleName = "by-hand",
    threads: o.Threads = 1,
    processes: o.Processes = 1,
) -> None:
    """Train the full-precision network, or take the checkpoint that the settings name."""
    from sbs.stages.jobs import job_of, run_together

    job = job_of(
        "pretrain", network, "fp", "default", seed, scale, settings, record, resume, threads
    )
    run_together("pretrain", job, data, weights, record, data.parent)


@app.command()
def search(
    network: o.Network,
    method: o.Method,
    settings: o.Settings,
    data: o.Data,
    policy: o.Output,
    weights: o.Output,
    record: o.Output,
    pretrained: Annotated[
        Path | None,
        typer.Option(
            help="Weights of M0; none with search.start: scratch.",
            callback=o.written_by("sbs pretrain"),
        ),
    ] = None,
    variant: o.Variant = "default",
    resume: o.Resume = None,
    seed: o.Seed = 0,
    scale: o.ScaleName = "by-hand",
    threads: o.Threads = 1,
    processes: o.Processes = 1,
) -> None:
    """Search the compression policy of a pretrained network."""
    from sbs.stages.jobs import job_of, run_together

    job = job_of("search", network, method, variant, seed, scale, settings, record, resume, threads)
    run_together("search", job, data, pretrained, policy, weights, record)


@app.command()
def finetune(
    network: o.Network,
    method: o.Method,
    settings: o.Settings,
    data: o.Data,
    policy: o.Policy,
    start: Annotated[
        Path,
        typer.Option(help="Weights of the search, or of M0.", callback=o.written_by("sbs search")),
    ],
    weights: o.Output,
    record: o.Output,
    variant: o.Variant = "default",
    resume: o.Resume = None,
    seed: o.Seed = 0,
    scale: o.ScaleName = "by-hand",
    threads: o.Threads = 1,
    processes: o.Processes = 1,
) -> None:
    """Fine-tune the network of a policy, and measure it."""
    from sbs.stages.jobs import job_of, run_together

    job = job_of(
        "finetune", network, method, variant, seed, scale, settings, record, resume, threads
    )
    run_together("finetune", job, data, policy, start, weights, record)


@app.command()
def evaluate(
    network: o.Network,
    data: o.Data,
    weights: Annotated[
        Path,
        typer.Option(
            help="Weights of a stage, a public checkpoint, or a packed file.",
            callback=o.written_by("sbs finetune"),
        ),
    ],
    policy: Annotated[
        Path | None,
        typer.Option(help="Policy of a compressed network.", callback=o.written_by("sbs search")),
    ] = None,
    threads: o.Threads = 1,
) -> None:
    """Print top-1 and top-5 accuracy of a plain or a compressed network on the test images."""
    from sbs.stages.finetune import evaluate_file

    _use_threads(threads)
    accuracy = evaluate_file(network, data, weights, policy)
    typer.echo(f"top-1 {accuracy.top1:.2f} % top-5 {accuracy.top5:.2f} %")


@app.command()
def export(
    policy: o.Policy,
    weights: o.Trained,
    output: o.Output,
    form: Annotated[
        str | None,
        typer.Option("--format", help="packed, onnx or qonnx; default: onnx for .onnx, or packed."),
    ] = None,
    image_size: o.OfPaper = None,
    sizes: Annotated[Path | None, typer.Option(help="JSON file for the sizes.")] = None,
) -> None:
    """Write a compressed network: packed integers with their scales, or ONNX. Print its sizes."""
    from sbs.provenance.files import atomic_write_text
    from sbs.stages.export import run

    found = run(policy, weights, output, form, image_size)
    if sizes is not None:
        atomic_write_text(sizes, json.dumps(vars(found)))
    typer.echo(str(found))


@app.command()
def latency(
    policy: o.Policy,
    weights: o.Trained,
    output: o.Output,
    image_size: o.OfPaper = None,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each network.")] = 200,
) -> None:
    """Measure a compressed network in onnxruntime, beside its original in full precision."""
    from sbs.stages.latency import run

    run(policy, weights, output, image_size, runs)


@app.command()
def verify(
    network: Annotated[
        Path,
        typer.Argument(help="Network in ONNX.", callback=o.written_by("sbs export")),
    ],
    packed: Annotated[
        Path,
        typer.Argument(
            help="Packed file of the same network.", callback=o.written_by("sbs export")
        ),
    ],
    data: Annotated[Path | None, typer.Option(help="Dataset file; default: random inputs.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Your own network: package.module:function that returns it, untrained."),
    ] = None,
) -> None:
    """Compare a network in ONNX with its packed file and with integer arithmetic, by layer."""
    from sbs.stages.verify import run

    found = run(network, packed, data, model)
    typer.echo(str(found))
    if not found.agrees:
        raise typer.Exit(1)


@app.command()
def trace(
    table: Annotated[Path, typer.Argument(help="A table of runs, such as results/table1.csv.")],
    row: Annotated[str, typer.Option(help="Network and method: 'resnet20 sbs'.")],
    column: Annotated[str, typer.Option(help="Column of the table.")] = "top1_mean",
) -> None:
    """Print the runs behind a cell of a table: values, records, revision, settings, data."""
    from sbs.results.trace import trace as run

    typer.echo(run(table, row, column))


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="One of sbs.theory.studies.STUDIES.")],
    output: o.Output,
) -> None:
    """Check or measure a part of the paper's theory, and write what was found as CSV."""
    from sbs.theory.studies import write

    _use_threads(1)
    write(name, output)


@app.command()
def cost(
    network: o.ThisNetwork,
    bits: Annotated[int, typer.Option(min=1, max=32, help="Bitwidth of every layer.")] = 32,
    policy: Annotated[
        Path | None,
        typer.Option(help="policy.json instead of --bits.", callback=o.written_by("sbs search")),
    ] = None,
    classes: o.OfPaper = None,
    image_size: o.OfPaper = None,
    channels: o.Channels = 3,
    resource: Annotated[
        list[str] | None, typer.Option(help="Cost models; default: bops and memory.")
    ] = None,
) -> None:
    """Print the cost of a network, layer by layer and in total."""
    from sbs.cost.report import DEFAULT, print_cost

    print_cost(network, bits, policy, classes, image_size, channels, resource or DEFAULT)


@app.command()
def inspect(
    network: Annotated[
        str, typer.Argument(help="package.module:function; the function returns the network.")
    ],
    shape: Annotated[
        list[str], typer.Option(help="Shape of an input without the batch, such as 3,224,224.")
    ],
    bits: Annotated[
        list[int] | None, typer.Option(min=1, max=32, help="Candidates; default: 2, 4 and 8.")
    ] = None,
    group_size: Annotated[int, typer.Option(min=1, help="Filters per pruning group.")] = 4,
) -> None:
    """Print what of a network of yours can be compressed, why not the rest, and how far."""
    from sbs.cost.inspection import BITWIDTHS
    from sbs.cost.inspection import inspect as run
    from sbs.cost.named_network import example_of, made_by

    model, example = made_by(network), example_of(shape)
    typer.echo(str(run(model, example, bitwidths=bits or BITWIDTHS, group_size=group_size)))


@app.command("cost-table")
def cost_table(
    network: o.ThisNetwork,
    output: o.Output,
    bits: Annotated[
        list[int] | None, typer.Option(min=1, max=32, help="Candidates; default: 2, 4 and 8.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Sizes of a prunable layer.")] = 4,
    classes: o.OfPaper = None,
    image_size: o.OfPaper = None,
    channels: o.Channels = 3,
    resource: Annotated[
        str | None, typer.Option(help="Cost model to fill in; default: costs stay empty.")
    ] = None,
) -> None:
    """List the layers to measure on your device, as a table for `search.resource: table:FILE`."""
    from sbs.cost.template import BITS, write_template

    image = classes, image_size, channels
    write_template(network, bits or BITS, steps, output, *image, resource)


@app.command()
def collect(
    records: Annotated[list[Path], typer.Argument(help="metrics.json and search.json files.")],
    output: o.Output,
) -> None:
    """Gather run records into one tidy table, a row a run."""
    from sbs.results.collect import write_runs

    write_runs(records, output)


@app.command(hidden=True)
def serve(
    socket: Annotated[Path, typer.Argument(help="Socket to listen on.")],
    parent: Annotated[int, typer.Argument(help="Process whose end ends this one.")],
) -> None:
    """Run the commands of a workflow in forks of this process, until the workflow ends."""
    from sbs.warm.preload import preload
    from sbs.warm.server import serve as run

    preload()
    run(socket, parent, run_here)


def main() -> None:
    """Entry point: the command runs in the workflow's server if there is one, else here."""
    claim_gpus(sys.argv)
    replace_by_torchrun(sys.argv)
    status = run_in_server(sys.argv)
    if status is not None:
        sys.exit(status)
    run_here()


def run_here() -> None:
    """Run the command in ``sys.argv``; mistakes in the input end with their message alone."""
    allocator.keep_freed_memory()
    try:
        with naming_extras():
            app()
    except SBSError as error:
        print(f"sbs: {error}", file=sys.stderr)
        sys.exit(1)


def _use_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
