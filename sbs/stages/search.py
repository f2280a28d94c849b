"""The search for a policy."""

from __future__ import annotations

from pathlib import Path

from sbs.config.settings import SearchSettings
from sbs.errors import SBSError
from sbs.methods.context import SearchContext, SearchResult
from sbs.registry.methods import Method, method
from sbs.runtime import checkpoints, processes
from sbs.stages.recording import finish
from sbs.stages.stage_run import Job, StageRun


def run(
    job: Job, data: Path, pretrained: Path | None, policy: Path, weights: Path, record: Path
) -> None:
    """Search a policy with the method of the job.

    Args:
        job: the run.
        data: the dataset file.
        pretrained: weights of M0; None for a search from scratch.
        policy: output, the policy.
        weights: output, the weights at the end of the search.
        record: output, the run record.

    Raises:
        SBSError: ``search.start`` and ``pretrained`` disagree.
    """
    chosen = method(job.method)
    inputs = {} if pretrained is None else {"pretrained": pretrained}
    stage = StageRun("search", job, data, inputs, method_name=chosen.name)
    _load_start(stage, pretrained)
    result: SearchResult = chosen.load()(context_of(stage, chosen))
    stage.save_weights(result.state, weights)
    shapes = {shape.name: shape.weight_shape for shape in stage.shapes}
    if processes.is_first():
        result.policy.with_shapes(shapes).save(policy)
    finish(
        stage,
        result.policy,
        result.progression,
        (policy, weights),
        record,
        target=result.target,
        trajectory=result.trajectory,
        found=None if result.found is None else result.found.model_dump(mode="json"),
        found_cost=result.found_cost,
        landing_flips=result.landing_flips,
        open_shares=result.open_shares,
    )


def _load_start(stage: StageRun, pretrained: Path | None) -> None:
    settings: SearchSettings = stage.section("search", SearchSettings)
    if (settings.start == "scratch") != (pretrained is None):
        raise SBSError(
            f"search.start is {settings.start}: "
            + ("give --pretrained" if pretrained is None else "leave out --pretrained")
        )
    if pretrained is not None:
        stage.normalize_as(checkpoints.read_normalization(pretrained), str(pretrained))
        checkpoints.load_into(stage.model, checkpoints.read_weights(pretrained), str(pretrained))


def context_of(stage: StageRun, chosen: Method) -> SearchContext:
    """The context for the search of a method."""
    settings: SearchSettings = stage.section("search", SearchSettings)
    needed = chosen.needed_sections(stage.job.settings["search"])
    return SearchContext(
        method=chosen,
        spec=stage.spec,
        model=stage.to_device(stage.model),
        shapes=stage.shapes,
        make_batches=stage.train_batches,
        settings=settings,
        sections={name: stage.section(name, chosen.sections[name]) for name in needed},
        lowest_bits=chosen.lowest_bits(stage.job.settings),
        runtime=stage.runtime,
        device=stage.device,
        seed=stage.job.seed,
        resume=stage.job.resume,
        identity=stage.identity,
        reporter=stage.reporter,
        image=stage.image,
    )
