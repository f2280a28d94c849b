# The Python that rules use: the checked config, the sheet, and functions of them.
from pathlib import Path

from snakemake.exceptions import WorkflowError

from sbs.config.scale import canonical_json, scale_type, stage_settings, validated
from sbs.errors import SBSError
from sbs.methods.targets import check_targets
from sbs.config.experiments import check_rows, load_experiments
from sbs.registry.code import stage_modules
from sbs.registry.costs import cost_model
from sbs.registry.datasets import dataset, datasets
from sbs.registry.exhibits import exhibits as registered_exhibits
from sbs.registry.methods import method
from sbs.provenance.code import source_digest
from sbs.warm.start import start as start_server

config_files = " + ".join(
    map(str, workflow.overwrite_configfiles or ["config/config.yaml"])
)
try:
    scale = validated(scale_type(), config, config_files)
    exhibits = registered_exhibits(Path("notebooks"))
    tables = [exhibit.name for exhibit in exhibits.values() if exhibit.takes_rows]
    experiments = load_experiments(Path("config/experiments.tsv"), scale, tables)
    check_targets(experiments, scale, config_files)
except SBSError as error:
    raise WorkflowError(str(error)) from None

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
    study=r"[a-z-]+",


def warm_up():
    """Start the server of training jobs; jobs on other machines cannot use it."""
    if workflow.local_exec:
        start_server()


def lift_rate_limit():
    """Let jobs of this machine start at any rate.

    With a limit, Snakemake 9.27 looks at all ready jobs again each second, once for every job that
    has ended: after some hundred jobs that takes a whole core.
    """
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


def settings_of(stage, wildcards):
    """The settings of a stage, with the row's options."""
    key = tuple(wildcards.get(name) for name in ("network", "method", "variant"))
    options = rows[key].options if key in rows else scale.options_of(key[0])
    return stage_settings(scale, stage, options, wildcards.get("method", ""))


def settings(stage):
    """Function of wildcards: the settings of a stage as JSON."""
    return lambda wildcards: canonical_json(settings_of(stage, wildcards))


def code(stage):
    """Function of wildcards: the digest of the code that decides the result of a stage."""

    def of_run(wildcards):
        if stage != "search":
            return source_digest(*stage_modules(stage, wildcards.network))
        resource = settings_of(stage, wildcards)["search"]["resource"]
        names = wildcards.network, wildcards.method, resource
        return source_digest(*stage_modules(stage, *names))

    return of_run


def cost_file(wildcards):
    """The file of the cost that a search is steered by; most costs have none."""
    file = cost_model(settings_of("search", wildcards)["search"]["resource"]).file
    return [] if file is None else str(file)


def pretrained_seed(seed):
    """Seed of the pretrained network that the run of this seed starts from."""
    seeds = scale.pretrain.seeds
    return int(seed) if int(seed) in seeds else seeds[0]


def from_scratch(wildcards):
    """Whether a run uses no pretrained weights."""
    return settings_of("search", wildcards)["search"]["start"] == "scratch"


def pretrained_weights(wildcards):
    """Weights of M0 for a search; none if it starts from scratch."""
    return [] if from_scratch(wildcards) else m0(wildcards)


def m0(wildcards):
    """Weights of M0."""
    seed = pretrained_seed(wildcards.seed)
    return f"<results>/pretrain/{wildcards.network}/seed-{seed}/weights.safetensors"


def starting_weights(wildcards):
    """Weights that fine-tuning starts from."""
    start = settings_of("finetune", wildcards)["finetune"]["start"]
    if start == "pretrained" and not method(wildcards.method).own_start:
        return m0(wildcards)
    run = "{0.network}/{0.method}/{0.variant}/seed-{0.seed}".format(wildcards)
    return f"<results>/search/{run}/weights.safetensors"


def records(wildcards):
    """Records of all runs of a table, or of all runs."""
    paths = set()
    for row in experiments:
        for seed in seeds_of(row, wildcards.selection):
            run = f"{row.network}/{row.method}/{row.variant}/seed-{seed}"
            paths.add(f"<results>/search/{run}/search.json")
            paths.add(f"<results>/finetune/{run}/metrics.json")
            if row.options.get("search.start") != "scratch":
                first = f"{row.network}/seed-{pretrained_seed(seed)}"
                paths.add(f"<results>/pretrain/{first}/metrics.json")
    return sorted(paths)


def seeds_of(row, selection):
    """Seeds with which a row of the sheet runs for a table, or for all tables."""
    if selection != "all":
        return scale.seeds_of(selection) if selection in row.tables else ()
    tables = row.tables or (selection,)
    return sorted({seed for table in tables for seed in scale.seeds_of(table)})


def inputs(exhibit):
    """Function of wildcards: the inputs of a table or figure, with its notebook."""
    runs = [
        [
            f"{row.network}/{row.method}/{row.variant}/seed-{seed}"
            for seed in seeds_of(row, exhibit.name)
        ]
        for row in experiments
        if exhibit.name in row.tables
    ]

    def of_runs(wildcards):
        try:
            if exhibit.takes_rows:
                check_rows(exhibit.name, experiments, scale, config_files)
        except SBSError as error:
            raise WorkflowError(str(error)) from None
        return {"notebook": str(exhibit.notebook), **exhibit.inputs_for(runs)}

    return of_runs


def outputs(exhibit):
    """Outputs of a table or figure. A path without a suffix is a folder."""
    named = {
        key: path if Path(path).suffix else directory(path)
        for key, path in exhibit.outputs.items()
    }
    named[exhibit.shows] = report(
        named[exhibit.shows],
        caption="../report/exhibit.rst",
        category=exhibit.category,
        labels={"title": exhibit.title},
    )
    return named


def made():
    """Tables and figures that have runs at this scale or need none."""
    used = {table for row in experiments for table in row.tables}
    return [
        exhibit
        for exhibit in exhibits.values()
        if exhibit.name in used or not exhibit.takes_rows
    ]


def everything():
    """What the report shows: one file of each table and figure that can be made at this scale."""
    return [exhibit.outputs[exhibit.shows] for exhibit in made()]


def made_files(figures):
    """Files of all figures that can be made at this scale, or of all tables."""
    files = [path for exhibit in made() for path in exhibit.files]
    return [path for path in files if path.endswith(".svg") == figures]


def finished(paths):
    """The paths that exist."""
    return [
        path
        for path in paths
        if Path(path.replace("<results>", scale.results)).exists()
    ]


def arguments(exhibit):
    """Function of a job's files: the notebook's parameters, as options of papermill."""

    def of_job(wildcards, input, output):
        files = {name: input[name] for name in exhibit.inputs}
        files |= {name: output[name] for name in exhibit.outputs}
        return " ".join(f"-p {name} '{path}'" for name, path in files.items())

    return of_job
