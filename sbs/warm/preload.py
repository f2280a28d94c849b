"""Everything that training jobs import and compute alike, once."""

from __future__ import annotations

from importlib import import_module

from sbs.kernels import build
from sbs.provenance.code import source_digest
from sbs.registry.code import stage_modules
from sbs.registry.methods import methods
from sbs.registry.networks import networks
from sbs.runtime import allocator

STAGES = ("pretrain", "search", "finetune", "export")
OWN = "sbs."


def preload() -> None:
    """Import the stages, the methods and networks of this package, and the kernels.

    Modules of other packages are left to the jobs that need them. No thread may start here, and no
    tensor be made on a GPU: a fork has neither.
    """
    allocator.keep_freed_memory()
    for stage in STAGES:
        import_module(f"sbs.stages.{stage}")
    searches = {one.module for one in methods().values() if one.search is not None}
    for module in sorted(searches | {one.module for one in networks().values()}):
        if module.startswith(OWN):
            import_module(module)
    build.available()
    for network in networks():
        source_digest(*stage_modules("finetune", network))
