"""The training loop: interruption, identity of states, failures that say where."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from sbs.cli import app
from sbs.config.scale import Scale, canonical_json, stage_settings
from sbs.config.settings import TrainSettings
from sbs.errors import SBSError
from sbs.provenance.files import directory_lock
from sbs.provenance.records import RunRecord
from sbs.runtime.checkpoints import read_weights
from sbs.runtime.progress import Reporter
from sbs.training.classification import Classification
from sbs.training.loop import fit
from sbs.training.recipe import learning_rate_factor
from sbs.training.state import read_state, state_path
from tests.test_damage import damages

CPU = torch.device("cpu")


class Points:
    """Twelve labelled points in three batches, in an order that the epoch decides."""

    def __len__(self) -> int:
        return 3

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        draw = torch.Generator().manual_seed(epoch)
        order = torch.randperm(12, generator=draw)
        points = torch.linspace(-1, 1, 24).view(12, 2)
        for chosen in order.split(4):
            yield points[chosen], (points[chosen, 0] > 0).long()


def settings(scale: Scale, **changes: Any) -> TrainSettings:
    kept = {name: getattr(scale.finetune, name) for name in TrainSettings.model_fields}
    return TrainSettings(**(kept | changes))


def network(dropout: float) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 2))


def train(
    scale: Scale,
    folder: Path,
    epochs: int,
    identity: Any = "a",
    *,
    accumulation: int = 1,
    dropout: float = 0.3,
    **changes: Any,
) -> Any:
    chosen = settings(scale, epochs=epochs, schedule="constant", **changes)
    task = Classification(network(dropout), chosen)
    progression = fit(
        task,
        Points(),
        chosen,
        scale.runtime.model_copy(update={"precision": "fp32", "accumulation": accumulation}),
        device=CPU,
        seed=1,
        resume=folder,
        identity={"of": identity},
        reporter=Reporter("test"),
    )
    return task.model, progression


def test_resumed_equals_uninterrupted_bit_for_bit(default_scale: Scale, tmp_path: Path) -> None:
    whole, _ = train(default_scale, tmp_path / "whole", 5)
    train(default_scale, tmp_path / "parts", 2)
    resumed, progression = train(default_scale, tmp_path / "parts", 5)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert progression.interruptions == 1
    assert [entry["epoch"] for entry in progression.history] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("parts", [2, 3, 9])
def test_parts_of_a_batch_add_up_to_it(default_scale: Scale, tmp_path: Path, parts: int) -> None:
    """Also parts of different sizes: the batches have four points."""
    whole, one = train(default_scale, tmp_path / "whole", 3, dropout=0)
    added, other = train(default_scale, tmp_path / "parts", 3, dropout=0, accumulation=parts)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(added.state_dict()[name], value)
    losses = [[entry["loss"] for entry in run.history] for run in (one, other)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_state_of_another_identity_is_not_used(
    default_scale: Scale, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(default_scale, tmp_path, 2, identity="a")
    _, progression = train(default_scale, tmp_path, 3, identity="b")
    assert progression.interruptions == 0
    assert "not resuming from" in capsys.readouterr().err


def test_damaged_state_is_named(default_scale: Scale, tmp_path: Path) -> None:
    train(default_scale, tmp_path, 2)
    path = state_path(tmp_path, {"of": "a"})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SBSError, match=rf"{path}.*damaged.*delete it"):
        train(default_scale, tmp_path, 3)


def test_every_damage_to_a_state_is_named(default_scale: Scale, tmp_path: Path) -> None:
    """Flipped bits and cuts anywhere, inside tensors too."""
    train(default_scale, tmp_path, 2)
    path = state_path(tmp_path, {"of": "a"})
    content = path.read_bytes()
    for damaged in damages(content, len(content)):
        path.write_bytes(damaged)
        with pytest.raises(SBSError, match=rf"^{path}: the state is damaged.*delete it") as caught:
            read_state(tmp_path, {"of": "a"}, Reporter("test"))
        assert "\n" not in str(caught.value)
    path.write_bytes(content)
    assert read_state(tmp_path, {"of": "a"}, Reporter("test"))[1].epoch == 2


def test_loss_that_is_not_finite_stops_and_says_where(default_scale: Scale, tmp_path: Path) -> None:
    with pytest.raises(SBSError, match=r"loss is (nan|inf) at epoch \d+, step \d+ of 3"):
        train(default_scale, tmp_path, 60, learning_rate=1e30)


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path) -> None:
    with (
        directory_lock(tmp_path),
        pytest.raises(SBSError, match="another process"),
        directory_lock(tmp_path),
    ):
        pass


def test_schedules(default_scale: Scale) -> None:
    steps = settings(default_scale, schedule="steps", milestones=(80, 120), epochs=200)
    assert [learning_rate_factor(steps, e) for e in (0, 79.9, 80, 120)] == pytest.approx(
        [1, 1, 0.1, 0.01]
    )
    cosine = settings(default_scale, schedule="cosine", epochs=10)
    assert [learning_rate_factor(cosine, e) for e in (0, 5, 10)] == pytest.approx([1, 0.5, 0])


@pytest.mark.end_to_end
def test_every_stage_survives_sigkill(
    default_scale: Scale, digits_file: Path, tmp_path: Path
) -> None:
    """Each stage killed on its way and run again ends with the same weights."""
    scale = shortened(default_scale, epochs=3)
    finished: dict[str, dict[str, Any]] = {}
    for way, run in (("whole", run_through), ("killed", kill_once_then_run)):
        folder = tmp_path / way
        for stage, command in commands(scale, digits_file, folder).items():
            run(command, folder / stage)
            weights = read_weights(folder / stage / "weights.safetensors")
            record = RunRecord.load(folder / stage / "record.json")
            finished.setdefault(stage, {})[way] = (weights, record)
    for stage, ways in finished.items():
        (whole, one), (killed, other) = ways["whole"], ways["killed"]
        for name, value in whole.items():
            assert torch.equal(value, killed[name]), (stage, name)
        assert (one.top1, one.top5, one.bops) == (other.top1, other.top5, other.bops)
        assert (one.interruptions, other.interruptions) == (0, 1)
        assert len(other.history) == len(one.history) == (5 if stage == "haq" else 3)


def shortened(scale: Scale, epochs: int) -> Scale:
    """The scale with few epochs, and little of what methods have in their place."""
    changes = {
        name: getattr(scale, name).model_copy(update={"epochs": epochs})
        for name in ("pretrain", "search", "dq")
    }
    both = {"epochs": epochs, "epochs_without_search": epochs}
    changes["finetune"] = scale.finetune.model_copy(update=both)
    changes["haq"] = scale.haq.model_copy(update={"episodes": 5, "warmup_episodes": 2})
    changes["multipath"] = scale.multipath.model_copy(update={"samples": 2})
    little = {"base_epochs": 1, "steps": 1, "images": 128}
    changes["sensitivity"] = scale.sensitivity.model_copy(update=little)
    return scale.model_copy(update=changes)


def commands(scale: Scale, data: Path, folder: Path) -> dict[str, list[str]]:
    """The command of each stage, writing into a folder of its own."""

    def common(stage: str, *rest: str, name: str = "", method: str = "") -> list[str]:
        out = folder / (name or stage)
        options = ["--network", "resnet20", "--data", str(data), "--resume", str(out / "resume")]
        options += ["--settings", canonical_json(stage_settings(scale, stage, {}, method))]
        options += ["--weights", f"{out}/weights.safetensors", "--record", f"{out}/record.json"]
        return [stage, *options, *rest]

    policy = f"{folder}/search/policy.json"
    return {
        "pretrain": common("pretrain"),
        "search": common(
            *("search", "--method", "sbs", "--policy", policy),
            *("--pretrained", f"{folder}/pretrain/weights.safetensors"),
        ),
        **{
            method: common(
                *("search", "--method", method, "--policy", f"{folder}/{method}/policy.json"),
                *("--pretrained", f"{folder}/pretrain/weights.safetensors"),
                name=method,
                method=method,
            )
            for method in ("dnas", "dq", "haq")
        },
        "finetune": common(
            *("finetune", "--method", "sbs", "--policy", policy),
            *("--start", f"{folder}/search/weights.safetensors"),
        ),
    }


def rounds_done(resume: Path) -> int:
    """Epochs or episodes in the state on disk."""
    states = list(resume.glob("state-*"))
    return torch.load(states[0])["progression"]["epoch"] if states else 0


def run_through(command: list[str], folder: Path) -> None:
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output


def kill_once_then_run(command: list[str], folder: Path) -> None:
    words = [sys.executable, "-m", "sbs.cli", *command]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # HAQ's agent learns from the third episode on.
    rounds = 3 if "haq" in command else 1
    wait_for(lambda: rounds_done(folder / "resume") >= rounds, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "record.json").exists()
    run_through(command, folder)
    assert not (folder / "resume").exists()


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
