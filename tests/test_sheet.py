"""The sheet and the scale files: what is checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sbs.config.experiments import check_rows, load_experiments
from sbs.config.scale import Scale, TableSettings, json_schema, load_scale
from sbs.errors import SBSError
from sbs.registry.exhibits import exhibits
from sbs.registry.methods import method, searching_methods
from tests.conftest import ROOT, SCALES
from tests.working_copy import copy, edit, snakemake

__all__ = ["copy"]  # a fixture

TABLES = [one.name for one in exhibits(ROOT / "notebooks").values() if one.takes_rows]
SHEET = "network\tmethod\tvariant\ttables\toptions\n"


def test_schema_is_the_one_of_the_settings() -> None:
    committed = (ROOT / "workflow" / "schemas" / "config.schema.json").read_text()
    assert committed == json_schema(), "run `make schema`"


@pytest.mark.parametrize("path", SCALES, ids=lambda p: p.stem)
def test_every_scale_is_valid_with_every_row_of_the_sheet(path: Path) -> None:
    assert load_experiments(ROOT / "config" / "experiments.tsv", load_scale(path), TABLES)


@pytest.mark.parametrize("path", SCALES, ids=lambda p: p.stem)
def test_every_key_is_explained(path: Path) -> None:
    manual = (ROOT / "config" / "README.md").read_text()
    content = yaml.safe_load(path.read_text())
    keys = set(content)
    of_tables = content.pop("tables", {}).values()  # their names are no keys
    content.pop("network_options", {})  # nor are networks, and their keys are those of sections
    for section in (*content.values(), *of_tables):
        if isinstance(section, dict):
            keys |= set(section)
    assert not {key for key in keys if f"`{key}`" not in manual}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("resnet21\tsbs\tdefault\ttable1\t", "line 2: unknown network 'resnet21'"),
        ("resnet20\tsbz\tdefault\ttable1\t", "line 2: unknown method 'sbz'"),
        ("resnet20\tsbs\tA b\ttable1\t", "variant 'A b'"),
        ("resnet20\tsbs\tdefault\ttable1\tsearch.epoch=3", "option 'search.epoch'"),
        ("resnet20\tsbs\tdefault\ttable1\tsearch.target=cheap", "target 'cheap'"),
        ("resnet20\tsbs\tdefault\ttable1\tsearch.bitwidths=[2, 3]", "do not nest"),
        ("resnet20\tsbs\tdefault", "5 columns"),
        ("resnet20\tsbs\ta\t\t\nresnet20\tsbs\ta\t\t", "resnet20 sbs a appears twice"),
        (
            "resnet20\tsbs\ta\ttable1 tabel2\t",
            r"experiments\.tsv, line 2: tables: no notebook registers 'tabel2'; known names are",
        ),
        ("resnet20\tsbs\ta\tclaims\t", "no notebook registers 'claims'"),
        ("resnet20\tsbs\ta\ttable1\t", r"networks: resnet56: no row in .*; add one, or remove"),
    ],
)
def test_bad_rows_are_refused_with_their_line(tmp_path: Path, row: str, message: str) -> None:
    sheet = tmp_path / "experiments.tsv"
    sheet.write_text(SHEET + row + "\n")
    with pytest.raises(SBSError, match=message):
        load_experiments(sheet, load_scale(ROOT / "config" / "config.yaml"), TABLES)


def test_every_registered_method_has_its_search() -> None:
    for name in searching_methods():
        assert callable(method(name).load())
    assert {"sbs", "fixed1", "fixed4", "fixed32"} <= set(searching_methods())
    assert "fp" not in searching_methods()
    for unknown in ("fixed0", "fixed33", "sbs_r"):
        with pytest.raises(SBSError, match="unknown method"):
            method(unknown)


def test_a_misspelt_key_stops_the_workflow_with_one_message(copy: Path) -> None:
    edit(copy, "search", epoch=3)
    done = snakemake(copy, "--dry-run")
    assert done.returncode != 0
    assert (
        "search.epoch: unknown key; remove it or correct its spelling" in done.stdout + done.stderr
    )


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        (None, {"networks": ["resnet21"]}, "networks.0: unknown network 'resnet21'; known are"),
        (None, {"networks": ["resnet32"]}, "networks: resnet32: no row in config/experiments.tsv"),
        (None, {"seeds": [0, 0]}, "seeds: 0 stands twice; remove one of them"),
        (
            None,
            {"tables": {"table1": {"seeds": 0}}},
            "tables.table1.seeds: Input should be greater",
        ),
        (None, {"tables": {"table1": {"runs": 1}}}, "tables.table1.runs: unknown key"),
        (
            None,
            {"tables": {"tabel1": {}}},
            "tables.tabel1: no notebook registers it for rows of con",
        ),
        (
            None,
            {"tables": {"table5": {"rows": ["sbs_q"]}}},
            "tables.table5.rows: sbs_q: no such row",
        ),
        ("pretrain", {"schedule": "steps"}, "pretrain: schedule: steps needs milestones; list"),
        ("finetune", {"weight_decay": float("inf")}, "finetune.weight_decay: Input should be a"),
        ("search", {"bitwidths": [8, 16]}, "search.target: '4-bit' is "),
        ("search", {"resource": "table:x.csv"}, "search.resource: x.csv: cannot read the table"),
    ],
)
def test_bad_config_is_refused_by_a_dry_run_in_one_line(
    copy: Path, section: str | None, changes: dict[str, Any], message: str
) -> None:
    edit(copy, section, **changes)
    done = snakemake(copy, "--dry-run", "results/table1.csv")
    assert done.returncode != 0
    [line] = [text for text in (done.stdout + done.stderr).splitlines() if message in text]
    assert "config/" in line


def test_options_of_a_network_come_before_those_of_its_rows(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    content["network_options"] = {"resnet56": {"finetune.epochs": 99, "search.group_size": 1}}
    path, sheet = tmp_path / "scale.yaml", tmp_path / "sheet.tsv"
    path.write_text(yaml.safe_dump(content))
    rows = ("resnet20\tsbs", "resnet56\tsbs", "resnet56\tsbs_p")
    options = ("", "search.group_size=2", "")
    lines = (f"{row}\tdefault\ttable1\t{one}\n" for row, one in zip(rows, options, strict=True))
    content["networks"] = ["resnet20", "resnet56"]
    path.write_text(yaml.safe_dump(content))
    sheet.write_text(SHEET + "".join(lines))
    found = [row.options for row in load_experiments(sheet, load_scale(path), TABLES)]
    assert found == [
        {},
        {"finetune.epochs": 99, "search.group_size": 2},
        {"finetune.epochs": 99, "search.group_size": 1},
    ]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"table6": TableSettings(seeds=None, rows=())},
            r"mine\.yaml has tables\.table6\.rows: \[\]; remove the entry to make it",
        ),
        ({}, r"no row of config/experiments\.tsv for resnet20, resnet56 has table6 in its column"),
    ],
)
def test_why_a_table_has_no_rows(
    default_scale: Scale, tables: dict[str, TableSettings], message: str
) -> None:
    scale = default_scale.model_copy(
        update={"tables": tables, "networks": ("resnet20", "resnet56")}
    )
    with pytest.raises(SBSError, match=f"^table6 is not made at this scale: {message}"):
        check_rows("table6", [], scale, "mine.yaml")


@pytest.mark.parametrize("key", ["finetune.epoch", "epochs", "tables.table1", "scale"])
def test_a_wrong_option_of_a_network_is_named(tmp_path: Path, key: str) -> None:
    content = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    content["network_options"] = {"resnet56": {key: 3}}
    path = tmp_path / "scale.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(SBSError, match=rf"scale.yaml: .*network_options\.resnet56: {key}: no such"):
        load_scale(path)
