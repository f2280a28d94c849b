"""The search for a policy."""

from __future__ import annotations

from pathlib import Path

from sbs.config.settings import DQSettings, HAQSettings, MultipathSettings, SearchSettings
from sbs.methods import SearchContext, get_method, module_of
from sbs.runtime import checkpoints
from sbs.stages.stage_run import Job, StageRun
from sbs.training.loop import discard


def run(job: Job, data: Path, pretrained: Path, policy: Path, weights: Path, record: Path) -> None:
    """Find a policy with the job's method."""
    stage = StageRun("search", job, data, {"pretrained": pretrained}, module_of(job.method))
    settings: SearchSettings = stage.section("search", SearchSettings)
    multipath = stage.section("multipath", MultipathSettings, required=False)
    dq = stage.section("dq", DQSettings, required=False)
    checkpoints.load_into(stage.model, checkpoints.read_weights(pretrained), str(pretrained))
    result = get_method(job.method)(
        SearchContext(
            spec=stage.spec,
            model=stage.to_device(stage.model),
            shapes=stage.shapes,
            batches=stage.train_batches((dq or settings).batch_size),
            settings=settings,
            runtime=stage.runtime,
            device=stage.device,
            seed=job.seed,
            resume=job.resume,
            identity=stage.identity,
            reporter=stage.reporter,
            image=stage.image,
            multipath=multipath,
            dq=dq,
            haq=stage.section("haq", HAQSettings, required=False),
        )
    )
    checkpoints.save_weights(result.state, weights)
    result.policy.save(policy)
    stage.record(
        result.policy,
        result.progression,
        target=result.target,
        trajectory=result.trajectory,
    ).save(record)
    discard(job.resume)
