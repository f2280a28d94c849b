# Everything in Python that rules use: the checked config, the sheet, and functions over them.
from pathlib import Path
import shutil

from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

from sbs.config.scale import canonical_json, scale_type, stage_settings, validated
from sbs.errors import SBSError
from sbs.methods.targets import check_targets
from sbs.config.experiments import load_experiments
from sbs.registry.code import stage_modules
from sbs.registry.datasets import dataset, datasets
from sbs.registry.methods import method
from sbs.provenance.code import source_digest

try:
    scale = validated(scale_type(), config, "scale file")
    experiments = load_experiments(Path("config/experiments.tsv"), scale)
    check_targets(experiments, scale)
except SBSError as error:
    raise WorkflowError(str(error)) from None
validate(config, schema="../schemas/config.schema.json")

rows = {(row.network, row.method, row.variant): row for row in experiments}


def alternatives(values):
    """Regular expression of a wildcard that takes one of these values."""
    return "|".join(sorted(set(values))) or "none"


wildcard_constraints:
    dataset=alternatives(datasets()),
    network=alternatives(scale.networks),
    method=alternatives(row.method for row in experiments),
    variant=alternatives(row.variant for row in experiments),
    selection=alternatives(
        ["all", *(table for row in experiments for table in row.tables)]
    ),
    seed=r"\d+",
    table=r"table\d+",
    study=r"[a-z-]+",


def settings(stage):
    """Function of wildcards: the settings of a stage, with the row's options, as JSON."""

    def of_run(wildcards):
        key = tuple(wildcards.get(name) for name in ("network", "method", "variant"))
        options = rows[key].options if key in rows else {}
        method = wildcards.get("method", "")
        return canonical_json(stage_settings(scale, stage, options, method))

    return of_run


def code(stage):
    """Function of wildcards: the digest of the code that decides the result of a stage."""

    def of_run(wildcards):
        method_name = wildcards.method if stage == "search" else None
        return source_digest(*stage_modules(stage, wildcards.network, method_name))

    return of_run


def pretrained_seed(seed):
    """Seed of the pretrained network that the run of this seed starts from."""
    seeds = scale.pretrain.seeds
    return int(seed) if int(seed) in seeds else seeds[0]


def pretrained_weights(wildcards):
    """Weights of M0 for a run."""
    seed = pretrained_seed(wildcards.seed)
    return f"<results>/pretrain/{wildcards.network}/seed-{seed}/weights.safetensors"


def starting_weights(wildcards):
    """Weights that fine-tuning starts from."""
    if scale.finetune.start == "pretrained" and not method(wildcards.method).own_start:
        return pretrained_weights(wildcards)
    run = "{0.network}/{0.method}/{0.variant}/seed-{0.seed}".format(wildcards)
    return f"<results>/search/{run}/weights.safetensors"


def records(wildcards):
    """Records of all runs of a table, or of all runs."""
    chosen = [row for row in experiments if wildcards.selection in ("all", *row.tables)]
    paths = set()
    for row in chosen:
        for seed in scale.seeds:
            run = f"{row.network}/{row.method}/{row.variant}/seed-{seed}"
            paths.add(f"<results>/search/{run}/search.json")
            paths.add(f"<results>/finetune/{run}/metrics.json")
            first = f"{row.network}/seed-{pretrained_seed(seed)}"
            paths.add(f"<results>/pretrain/{first}/metrics.json")
    return sorted(paths)


def exported(wildcards):
    """Sizes of the exported networks of Table 2, of the first seed."""
    rows_of_table = [row for row in experiments if "table2" in row.tables]
    return [
        f"<results>/export/{row.network}/{row.method}/{row.variant}/seed-{scale.seeds[0]}/sizes.json"
        for row in rows_of_table
        if method(row.method).quantizes
    ]


def gpus():
    """GPUs that a training job takes: one if there is any to take."""
    return int(scale.runtime.device != "cpu" and shutil.which("nvidia-smi") is not None)


def table_title(name):
    """``Table 1`` for ``table1``."""
    return name.replace("table", "Table ")


def everything():
    """All tables and figures that have runs at this scale, and those that need none."""
    made = {table for row in experiments for table in row.tables}
    if "table2" in made:
        made.add("export")
    tables = [f"{name}.csv" for name in sorted(made)]
    others = ["claims.csv", "fig2.svg", "fig3.svg", "packing.csv", "theory.csv"]
    return [f"<results>/{name}" for name in [*tables, *others, "trajectory.svg"]]


def finished(paths):
    """Those that are there."""
    return [
        path
        for path in paths
        if Path(path.replace("<results>", scale.results)).exists()
    ]


def executed(parameters):
    """Shell command that executes a rule's notebook and shows it as HTML.

    It is written to a log, which survives a failure, and copied on success.
    """
    return (
        "(jupytext --quiet --to ipynb --output - {input.notebook}"
        f" | papermill --no-progress-bar {parameters} - {{log.notebook}}"
        " && cp {log.notebook} {output.notebook}"
        " && jupyter nbconvert --log-level WARN --to html --output-dir $(dirname {output.html})"
        " {output.notebook}) > {log.text} 2>&1"
    )
