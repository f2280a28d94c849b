"""Registration: what is found, what is refused, and what must not be imported for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel

from sbs.config.scale import Scale, stage_settings
from sbs.errors import SBSError
from sbs.registry.code import stage_modules
from sbs.registry.costs import CostModel, Sizes, cost_models
from sbs.registry.datasets import datasets
from sbs.registry.discovery import Registry, Room, listed, source_of
from sbs.registry.methods import (
    Method,
    Workload,
    method,
    methods,
    searched,
    searching_methods,
    section_types,
)
from sbs.registry.networks import networks
from tests.conftest import ROOT


@dataclass(frozen=True)
class Thing:
    name: str


def test_paper_is_registered() -> None:
    assert {"resnet20", "resnet56", "resnet18", "mobilenet_v2", "mobilenet_v3"} <= set(networks())
    assert {"digits", "cifar10", "cifar100"} <= set(datasets())
    assert {"bops", "memory"} <= set(cost_models())
    paper = ["Full-precision", "DQ", "HAQ", "DNAS", "SBS-P", "SBS-Q", "SBS"]
    assert [one.label for one in methods().values() if one.label in paper] == paper


def test_registration_needs_no_pytorch() -> None:
    code = (
        "import sys\n"
        "from sbs.config.scale import load_scale\n"
        "from sbs.config.experiments import load_experiments\n"
        "from sbs.registry.networks import networks\n"
        "from pathlib import Path\n"
        "from sbs.registry.exhibits import exhibits\n"
        "scale = load_scale(Path('config/config.yaml'))\n"
        "load_experiments(Path('config/experiments.tsv'), scale, exhibits(Path('notebooks')))\n"
        "networks()\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_every_method_has_a_search_or_is_full_precision() -> None:
    assert [name for name in methods() if name not in searching_methods()] == ["fp"]
    with pytest.raises(SBSError, match="'fp' has no search"):
        searched("fp")


def test_sections_are_those_that_a_run_needs() -> None:
    assert set(section_types()) == {"multipath", "dq", "haq", "random", "sensitivity", "two_stage"}
    sbs_q = methods()["sbs_q"]
    assert sbs_q.needed_sections({"bit_sharing": True}) == []
    assert sbs_q.needed_sections({"bit_sharing": False}) == ["multipath"]
    assert methods()["haq"].needed_sections({"bit_sharing": True}) == ["haq"]


def test_a_stage_depends_on_the_code_of_its_own_network_and_method() -> None:
    modules = stage_modules("search", "resnet20", "haq")
    assert "sbs.networks.resnet_cifar" in modules
    assert "sbs.methods.haq.search" in modules
    assert "sbs.networks.torchvision_models" not in modules
    assert not any("dnas" in module or "multipath" in module for module in modules)


def test_a_name_twice_is_refused() -> None:
    def load(module: str) -> Iterable[Thing]:
        return [Thing("same")]

    room = Room("network", "networks", "NETWORKS")
    with pytest.raises(SBSError, match="network 'same' is already registered"):
        Registry(room, load).all()


def test_an_unknown_name_lists_the_known() -> None:
    registry = Registry(Room("cost model", "cost", "COSTS"), lambda module: [Thing(module)])
    with pytest.raises(SBSError, match=r"unknown cost model 'x'; known are sbs\.cost\.bitfusion, "):
        registry.named("x")


def test_a_numbered_series_is_shortened_in_messages() -> None:
    assert listed(["a", "f1", "f2", "f3", "b"]) == "a, f1 to f3, b"
    assert listed(["r20", "r32"]) == "r20, r32"


def test_a_literal_is_read_without_running_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside_networks.py").write_text(
        "raise RuntimeError\nNETWORKS = {'tiny': {'label': 'Tiny'}}\n"
    )
    (tmp_path / "outside_broken.py").write_text("NETWORKS = dict(tiny=1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    room = Room("network", "networks", "NETWORKS")
    assert room.literal("outside_networks") == {"tiny": {"label": "Tiny"}}
    with pytest.raises(SBSError, match=r"outside_broken\.py: .*dictionary of plain values"):
        room.literal("outside_broken")
    with pytest.raises(SBSError, match="'outside_missing': not installed"):
        source_of("outside_missing")


def test_a_method_needs_all_of_its_sections_by_default() -> None:
    class Own(BaseModel):
        tries: int

    method = Method("x", "X", 1, "nowhere:search", sections={"own": Own})
    assert method.needed_sections({}) == ["own"]


def test_a_search_depends_on_the_code_of_its_own_cost_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def layer(sizes: Sizes, weight_bits: Any, activation_bits: Any) -> Any:
        return sizes.macs

    third = CostModel("third", "Third", "", 1.0, layer)
    monkeypatch.setitem(cast(dict[str, CostModel], cost_models()), "third", third)
    assert __name__ in stage_modules("search", "resnet20", "sbs", "third")
    assert __name__ not in stage_modules("search", "resnet20", "sbs", "bops")


def test_every_method_knows_the_effort_of_its_search(default_scale: Scale) -> None:
    task = Workload(images=1000, layers=20)
    epochs = default_scale.search.epochs
    found = {}
    for name in searching_methods():
        settings = stage_settings(default_scale, "search", {}, name)
        found[name] = method(name).search_effort(settings, task) / 1000
    assert found["fixed4"] == found["random"] == 0
    assert found["sbs"] == found["sbs_q"] == found["cost-only"] == pytest.approx(1.07 * epochs)
    assert found["dnas"] == 3 * epochs
    assert found["haq"] == pytest.approx(16 * (512 + 2 * 18 * 6) / 1000)  # and its updates
    assert found["dq"] == 10
    # Two bitwidths above the lowest; 18 searched layers, so 36 tensors.
    assert found["sensitivity"] == pytest.approx(2 * (10 + 37 * (20 * 64 + 256 / 3) / 1000))
    paths = stage_settings(default_scale, "search", {"search.bit_sharing": False}, "sbs_q")
    assert method("sbs_q").search_effort(paths, task) == 3 * epochs * 1000


def test_a_method_that_says_nothing_costs_its_epochs_if_it_trains() -> None:
    settings, task = {"search": {"epochs": 7}}, Workload(images=100, layers=20)
    silent = Method("silent", "Silent", 1, "module:search")
    trains = Method("trains", "Trains", 1, "module:search", trained_epochs=lambda settings: 7.0)
    assert silent.search_effort(settings, task) == 0
    assert trains.search_effort(settings, task) == 700


@pytest.mark.parametrize(
    ("name", "searched", "pretrained"),
    [("sbs", 8, 5), ("fixed4", 5, 5), ("haq", 5, 5), ("dq", 0, 0)],
)
def test_epochs_of_fine_tuning(name: str, searched: int, pretrained: int) -> None:
    for start, epochs in (("searched", searched), ("pretrained", pretrained)):
        settings = {"start": start, "epochs": 8, "epochs_without_search": 5}
        assert method(name).finetune_epochs(settings) == epochs
