"""The comparison with other tools: one count for all, records that resume, and the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from benchmarks.peers import page, steps
from benchmarks.peers.__main__ import app
from benchmarks.peers.meter import Meter
from benchmarks.peers.records import Record, load, record_path
from benchmarks.peers.runner import run
from benchmarks.peers.start import NETWORK, SCALE, Start
from benchmarks.peers.tool import CannotError, Found, Job, Tool
from benchmarks.peers.tools import TOOLS, brevitas_layers, modelopt
from benchmarks.peers.tools.ours import EpochLoader
from sbs.config.scale import load_scale
from sbs.cost.layers import uniform_policy_of
from sbs.cost.trace import trace_layers
from sbs.data.images import ImageSet, make_dataset
from sbs.errors import SBSError
from sbs.networks import build_network, get_spec

FOUR_BITS = 674_643_968
"""Bit operations of ResNet-20 with 4 bits; the paper prints 674.6 M."""

LAYER = "layer1.0.conv1"
LAYER_MACS = 16 * 16 * 3 * 3 * 32 * 32


@pytest.fixture(scope="module")
def start() -> Start:
    """A network without training, and a few images of noise; nothing here depends on them."""
    torch.manual_seed(0)
    model = build_network(NETWORK, 100, 3)
    images = torch.randint(256, (70, 3, 32, 32), dtype=torch.uint8)
    few = ImageSet(images, torch.arange(70))
    return Start(
        load_scale(SCALE),
        make_dataset("cifar100", few, few, 100),
        model.state_dict(),
        trace_layers(model, (3, 32, 32)),
        get_spec(NETWORK).prunables(model),
        epochs=1,
    )


def uniform_bits(start: Start, bits: int) -> dict[str, tuple[int, int]]:
    return {s.name: (8, 8) if s.end else (bits, bits) for s in start.shapes}


def tool(compress: Callable[[Job], Found]) -> Tool:
    return Tool("brevitas", "A tool", "hand", "by hand", "nothing", ("torch",), compress)


def test_the_target_is_the_cost_of_the_paper(start: Start) -> None:
    assert start.target(4) == FOUR_BITS
    assert start.cost(start.policy(uniform_bits(start, 4)), "bops") == FOUR_BITS


def test_bits_made_by_hand_are_judged_by_the_project_s_count(start: Start) -> None:
    bits = uniform_bits(start, 4) | {LAYER: (2, 8)}
    assert start.cost(start.policy(bits), "bops") == FOUR_BITS
    bits[LAYER] = (2, 4)
    assert start.cost(start.policy(bits), "bops") == FOUR_BITS - LAYER_MACS * (16 - 8)
    whole = start.weight_bytes(start.policy(uniform_bits(start, 4)))
    assert whole - start.weight_bytes(start.policy(bits)) == 16 * 16 * 9 * (4 - 2) / 8


def test_a_policy_needs_the_bits_of_every_layer(start: Start) -> None:
    bits = uniform_bits(start, 4)
    del bits[LAYER]
    with pytest.raises(KeyError, match=LAYER):
        start.policy(bits)


def test_record_of_a_network(start: Start, tmp_path: Path) -> None:
    def compress(job: Job) -> Found:
        job.meter.add("training", "epoch 1", 7)
        policy = uniform_policy_of(NETWORK, start.shapes, job.level)
        return Found(
            start.network(),
            policy,
            {
                "five": lambda folder: (folder / "file").write_bytes(b"12345"),
                "broken": lambda folder: json.loads("{"),
            },
        )

    run(tool(compress), 4, start, tmp_path)
    read = load(record_path(tmp_path, "brevitas", 4))
    assert (read.outcome, read.bops, read.steps) == ("network", FOUR_BITS, 7)
    assert read.exports == {"five": 5}
    assert read.unexported["broken"].startswith("JSONDecodeError")
    assert read.top1 is not None
    assert 0 <= read.top1 <= 100


def test_what_a_tool_cannot_do_and_what_breaks_it_are_records(start: Start, tmp_path: Path) -> None:
    def cannot(job: Job) -> Found:
        raise CannotError("0 of 21 convolutions changed")

    def breaks(job: Job) -> Found:
        raise ValueError("no such \x1b[96moperator\x1b[0m\nand a long explanation")

    assert run(tool(cannot), 4, start, tmp_path).reason == "0 of 21 convolutions changed"
    failed = run(tool(breaks), 3, start, tmp_path)
    assert (failed.outcome, failed.reason) == ("failed", "ValueError: no such operator")
    assert load(record_path(tmp_path, "brevitas", 3)).outcome == "failed"


def test_file_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = record_path(tmp_path, "brevitas", 4)
    path.write_text('{"tool": "brevitas"}')
    with pytest.raises(SBSError, match=r"brevitas-4bit\.json: not a record"):
        load(path)


def test_interrupted_jobs_add_up_and_repeated_parts_do_not(tmp_path: Path) -> None:
    first = Meter(tmp_path / "meter.json")
    first.add("search", "epoch 1", 10)
    first.add("search", "epoch 2", 10)
    second = Meter(tmp_path / "meter.json")
    second.add("search", "epoch 2", 10)
    second.add("training", "epoch 1", 5)
    assert second.steps() == 25
    assert 0 < second.hours("search") < 1


def record(name: str, level: int, **changes: object) -> Record:
    values: dict[str, object] = {
        "tool": name,
        "level": level,
        "asked": 600e6,
        "epochs": 2,
        "versions": {"torch": "2.14.1", "brevitas": "0.13.4"},
        "device": "a processor",
        "outcome": "network",
        "bops": 900e6,
        "memory": 200_000.0,
        "weights": 100_000.0,
        "search_hours": 0.25,
        "training_hours": 0.5,
        "steps": 1564,
        "top1": 65.43,
        "exports": {"onnx": 350_000},
    }
    return Record(**(values | changes))  # type: ignore[arg-type]


TIMES = {
    "seconds": {"plain": [1.0, 2.0, 4.0], "slow": [3.0, 4.0, 12.0]},
    "missing": {},
    "threads": 1,
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    for one in (
        record("brevitas", 4),
        record("ours", 4, bops=540e6, exports={"sbs": 90_000}, unexported={"onnx": "it broke"}),
        record("torchao", 4, outcome="cannot", reason="0 of 21 convolutions", bops=None),
        record("brevitas", 3, outcome="failed", reason="ValueError: why"),
    ):
        one.save(tmp_path)
    (tmp_path / steps.FILE).write_text(json.dumps(TIMES))
    page.write(tmp_path, TOOLS)
    return tmp_path


def test_page_shows_what_each_tool_reached(written: Path) -> None:
    text = (written / "peers.md").read_text()
    first, second = text.index("4 bits everywhere"), text.index("3 bits everywhere")
    rows = [line for line in text[first:second].splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[1:]] == [
        "ours, bits and filters",
        "Brevitas",
    ]
    cells = [cell.strip() for cell in rows[2].split("|")[3:-1]]
    assert cells == ["900.0", "1.50", "200.0", "0.25", "0.50", "1564", "65.43", "100.0", "onnx 350"]
    assert "Cannot be asked for it: torchao" in text[first:second]
    assert "Not run yet: ours, bits only" in text[first:second]
    assert "Failed: Brevitas" in text[second:]
    assert "- Cannot: 0 of 21 convolutions" in text
    assert "- 3-bit: failed with ValueError: why" in text
    assert "- 4-bit: no onnx file: it broke" in text


def test_table_has_a_row_for_each_number_that_a_document_quotes(written: Path) -> None:
    table = pd.read_csv(written / "peers.csv").set_index("row")
    assert table.loc["ours 4-bit", "over_asked"] == pytest.approx(0.9)
    assert table.loc["ours 4-bit", "sbs_kb"] == 90
    assert table.loc["step: slow", "step_ratio"] == 3  # of 3, 2 and 3
    assert table.loc["step: slow", "step_seconds"] == 4


def test_budgets_are_not_mixed(written: Path) -> None:
    record("ours", 3, epochs=4).save(written)
    with pytest.raises(SBSError, match="2 and 4 epochs"):
        page.write(written, TOOLS)


def test_a_second_run_computes_nothing_and_writes_the_page(written: Path) -> None:
    (written / "peers.md").unlink()
    before = {path: path.read_bytes() for path in written.glob("*.json")}
    arguments = ["run", "--tools=brevitas", f"--folder={written}", f"--data={written}/none"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert (written / "peers.md").is_file()
    assert {path: path.read_bytes() for path in written.glob("*.json")} == before


def test_unknown_tool_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["run", "--tools=nothing", f"--folder={tmp_path}"])
    assert done.exit_code == 2


def test_the_loader_gives_the_common_batches(start: Start) -> None:
    loader = EpochLoader(start)
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        given = [images for images, _ in loader]
        expected = [images for images, _ in start.batches().epoch(epoch)]
        torch.testing.assert_close(given, expected, rtol=0, atol=0)


# The warnings of the tools are theirs.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bits", [3, 4])
@pytest.mark.parametrize(
    ("package", "tool"), [("brevitas", brevitas_layers), ("modelopt", modelopt)]
)
def test_fixed_bits_cost_the_target(
    start: Start, package: str, tool: ModuleType, bits: int
) -> None:
    pytest.importorskip(package, reason="`make peers` installs it")
    model = tool._network(start, bits)
    policy = start.policy(tool._bits(model, start))
    assert start.cost(policy, "bops") == start.target(bits)


@pytest.mark.filterwarnings("ignore")
def test_plinio_counts_bit_operations_as_this_project(start: Start) -> None:
    pytest.importorskip("plinio", reason="`make peers` installs it")
    from benchmarks.peers.tools import plinio_mps

    model = plinio_mps._search_network(start).eval()
    with torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    policy = start.policy(plinio_mps._bits(model.summary(), start))
    assert float(model.get_cost("bops")) == start.cost(policy, "bops")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["torchao", "nncf"])
def test_what_cannot_be_asked_says_what_was_seen(start: Start, name: str, tmp_path: Path) -> None:
    pytest.importorskip(name, reason="`make peers` installs it")
    found = run(TOOLS[name], 4, start, tmp_path)
    assert found.outcome == "cannot", found.reason
