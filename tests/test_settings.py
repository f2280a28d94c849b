"""Scale files: what is refused, in one line with file, key and remedy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from sbs.config.experiments import load_experiments
from sbs.config.scale import load_scale, scale_type, stage_settings
from sbs.config.target import Target
from sbs.errors import SBSError
from sbs.methods.targets import check_targets
from sbs.policy import Bitwidths
from tests.conftest import ROOT

SHEET = "network\tmethod\tvariant\ttables\toptions\n"


def written(folder: Path, **changes: Any) -> Path:
    """The default scale with keys set anew: ``key`` or ``section__key``."""
    content = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (content[section] if section else content)[name] = value
    path = folder / "scale.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"networks": ["resnet21"]}, "networks.0: unknown network 'resnet21'; known are resnet20"),
        ({"networks": ["resnet20", "resnet20"]}, "networks: 'resnet20' stands twice; remove one"),
        ({"seeds": [0, 0]}, "seeds: 0 stands twice; remove one"),
        ({"seeds": [-1]}, "seeds.0: Input should be greater than or equal to 0"),
        ({"pretrain__seeds": [1, 1]}, "pretrain.seeds: 1 stands twice"),
        ({"data__dataset": "mnist"}, "data.dataset: unknown dataset 'mnist'; known are cifar10"),
        ({"search__resource": "time"}, "search.resource: unknown cost model 'time'; known are"),
        ({"pretrain__schedule": "steps"}, "pretrain: schedule: steps needs milestones"),
        ({"finetune__milestones": [5, 3]}, "finetune: milestones must be epochs in ascending"),
        ({"search__weight_decay": math.inf}, "search.weight_decay: "),
        ({"search__learning_rate": math.nan}, "search.learning_rate: "),
        ({"haq__learning_rate": math.inf}, "haq.learning_rate: "),
        ({"search__target": ".inf"}, "search.target: target '.inf': write '4-bit'"),
        ({"search__target": math.inf}, "search.target: target 'inf': a cost must be positive and"),
        ({"search__bitwidths": [2, 3]}, "search.bitwidths: bitwidths [2, 3] do not nest"),
        ({"pretrain__checkpoints": {"resnet21": {"path": "w.pt"}}}, "unknown network 'resnet21'"),
        ({"search__epoch": 3}, "search.epoch: unknown key; remove it or correct its spelling"),
        ({"own": {"tries": 3}}, "own: unknown key"),
    ],
)
def test_impossible_settings_are_refused_with_file_and_key(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(SBSError) as caught:
        load_scale(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "after validation" not in str(caught.value)


def test_settings_are_parsed_once_and_dump_as_they_were_written(tmp_path: Path) -> None:
    scale = load_scale(written(tmp_path, search__target="0.95 x 4-bit"))
    assert scale.search.target == Target("0.95 x 4-bit", 0.95, 4)
    assert isinstance(scale.search.bitwidths, Bitwidths)
    dumped = scale.model_dump(mode="json")
    assert dumped["search"]["target"] == "0.95 x 4-bit"
    assert dumped["search"]["bitwidths"] == [2, 4, 8]
    assert scale_type().model_validate(dumped) == scale
    assert load_scale(written(tmp_path, search__target=630.6e6)).search.target == Target(
        "630600000.0", 630.6e6, None
    )


def test_a_scale_needs_the_sections_of_its_own_methods_alone(tmp_path: Path) -> None:
    path = written(tmp_path, haq=None, dq=None)
    scale = load_scale(path)
    assert "haq" not in stage_settings(scale, "search", {}, "sbs")
    with pytest.raises(SBSError, match="haq: missing section; method haq needs it"):
        stage_settings(scale, "search", {}, "haq")


@pytest.mark.parametrize(
    ("row", "lowest"),
    [
        ("resnet20\tsbs_q\tdefault\t\tsearch.target=0.9 x 2-bit", "with 2 bits in every searched"),
        ("resnet20\thaq\tdefault\t\tsearch.target=1000", "with 2 bits in every searched layer"),
        ("resnet20\tsbs_p\tdefault\t\tsearch.target=0.05 x full", "and one group of filters where"),
        ("resnet20\tdnas\tdefault\t\tsearch.resource=memory; search.target=1-bit", "KB, but"),
    ],
)
def test_a_target_out_of_reach_is_refused_before_anything_runs(
    tmp_path: Path, row: str, lowest: str
) -> None:
    scale = load_scale(written(tmp_path, networks=["resnet20"], tables={}))
    sheet = tmp_path / "experiments.tsv"
    sheet.write_text(SHEET + row + "\n")
    with pytest.raises(SBSError) as caught:
        check_targets(load_experiments(sheet, scale, []), scale, "mine.yaml")
    network, method = row.split("\t")[:2]
    assert f"row {network} {method} default: search.target: " in str(caught.value)
    assert lowest in str(caught.value)
    assert str(caught.value).endswith("give a larger target")


def test_a_cost_that_knows_no_full_precision_is_refused_before_anything_runs(
    tmp_path: Path,
) -> None:
    scale = load_scale(written(tmp_path, networks=["resnet20"], tables={}))
    sheet = tmp_path / "experiments.tsv"
    options = "search.resource=bitfusion-latency; search.target=0.9 x 8-bit"
    sheet.write_text(SHEET + f"resnet20\tsbs_p\tdefault\t\t{options}\n")
    with pytest.raises(
        SBSError, match="row resnet20 sbs_p default: BitFusion multiplies at most 8"
    ):
        check_targets(load_experiments(sheet, scale, []), scale, "mine.yaml")


def test_a_network_that_cannot_read_the_images_is_refused_with_file_and_key(
    tmp_path: Path,
) -> None:
    scale = load_scale(written(tmp_path, networks=["resnet18"], tables={}))
    sheet = tmp_path / "experiments.tsv"
    sheet.write_text(SHEET + "resnet18\tsbs\tdefault\t\t\n")
    with pytest.raises(SBSError, match=r"^mine\.yaml: networks: .*resnet18: needs colour images"):
        check_targets(load_experiments(sheet, scale, []), scale, "mine.yaml")


def test_pruning_reaches_further_than_bits_alone(tmp_path: Path) -> None:
    scale = load_scale(written(tmp_path, networks=["resnet20"], tables={}))
    sheet = tmp_path / "experiments.tsv"
    sheet.write_text(SHEET + "resnet20\tsbs\tdefault\t\tsearch.target=0.9 x 2-bit\n")
    check_targets(load_experiments(sheet, scale, []), scale, "mine.yaml")


def test_a_scale_needs_a_network(tmp_path: Path) -> None:
    with pytest.raises(SBSError, match="networks: Tuple should have at least 1 item"):
        load_scale(written(tmp_path, networks=[]))
