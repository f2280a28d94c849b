"""The search for a policy."""

from __future__ import annotations

from pathlib import Path

from sbs.config.settings import DQSettings, HAQSettings, MultipathSettings, SearchSettings
from sbs.methods import SearchContext, get_method, module_of
from sbs.runtime import checkpoints
from sbs.stages.workbench import Job, Workbench
from sbs.training.loop import discard


def run(job: Job, data: Path, pretrained: Path, policy: Path, weights: Path, record: Path) -> None:
    """Find a policy with the job's method."""
    bench = Workbench("search", job, data, {"pretrained": pretrained}, module_of(job.method))
    settings: SearchSettings = bench.section("search", SearchSettings)
    multipath = bench.section("multipath", MultipathSettings, required=False)
    dq = bench.section("dq", DQSettings, required=False)
    checkpoints.load_into(bench.model, checkpoints.read_weights(pretrained), str(pretrained))
    result = get_method(job.method)(
        SearchContext(
            spec=bench.spec,
            model=bench.to_device(bench.model),
            shapes=bench.shapes,
            batches=bench.train_batches((dq or settings).batch_size),
            settings=settings,
            runtime=bench.runtime,
            device=bench.device,
            seed=job.seed,
            resume=job.resume,
            identity=bench.identity,
            reporter=bench.reporter,
            image=bench.image,
            multipath=multipath,
            dq=dq,
            haq=bench.section("haq", HAQSettings, required=False),
        )
    )
    checkpoints.save_weights(result.state, weights)
    result.policy.save(policy)
    bench.record(
        result.policy,
        result.progression,
        target=result.target,
        trajectory=result.trajectory,
    ).save(record)
    discard(job.resume)
