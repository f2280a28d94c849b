"""One call compresses anybody's network."""

from __future__ import annotations

import contextlib
import copy
import doctest
import pickle
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

import sbs
from sbs.compression import run
from sbs.compression.front import Front
from sbs.compression.goal import Goal
from sbs.compression.progress import EpochEnd
from sbs.compression.result import Compressed
from sbs.cost.table import write_table
from sbs.errors import SBSError
from sbs.runtime.seeding import seed_everything
from tests.compressing import IMAGES, LABELS, TRAINING, VALIDATION, Net, compressed, loader


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9)
    for _ in range(6):
        for images, labels in loader():
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model


@pytest.fixture(scope="module")
def result(trained: nn.Module) -> Compressed:
    torch.set_num_threads(1)  # as in every test; the digits of sums depend on it
    return compressed(trained, val_loader=VALIDATION)


def test_the_target_is_reached_and_the_network_still_knows_digits(
    trained: nn.Module, result: Compressed
) -> None:
    assert 0.95 * 0.01 * result.full_cost() <= result.cost() <= 0.01 * result.full_cost()
    assert result.score is not None
    assert result.full_score is not None
    assert result.full_score > 90
    assert result.score > result.full_score - 5
    found = sbs.inspect(trained, IMAGES[:1])
    assert [layer.name for layer in result.layers] == [
        layer.name for layer in found.layers if layer.bits
    ]
    assert result.full_cost() == found.costs[0].full
    assert len(result.history["search"]) == 6
    assert len(result.history["finetune"]) == 2
    text = result.report()
    assert "target 0.01 x full: the search got there" in text
    assert f"validation: {result.score:.4g}, before {result.full_score:.4g}" in text


def test_the_given_network_stays_as_it_was(trained: nn.Module, result: Compressed) -> None:
    state = copy.deepcopy(trained.state_dict())
    assert trained.training
    compressed(trained, epochs=0)
    assert trained.training
    for name, value in trained.state_dict().items():
        assert torch.equal(value, state[name]), name


def random_numbers() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


def test_the_generators_of_the_caller_stay_as_they_were(trained: nn.Module) -> None:
    seed_everything(1)
    want = random_numbers()
    for call in (
        lambda: compressed(trained, epochs=0),
        lambda: sbs.front(trained, loader(), [0.01], search_epochs=5, epochs=0, verbose=False),
        lambda: compressed(trained, callbacks=[lambda end: 1 / 0]),
    ):
        seed_everything(1)
        with contextlib.suppress(ZeroDivisionError):
            call()
        assert random_numbers() == want


def test_pruned_filters_are_gone_and_the_module_is_like_any_other(
    trained: nn.Module, tmp_path: Path
) -> None:
    result = compressed(trained, 0.3, quantize=False, val_loader=VALIDATION)
    assert result.full_score is not None
    assert result.full_score > 90
    kept = result.policy.layers["second"].kept or result.policy.layers["third"].kept
    assert kept is not None
    model = result.model
    weights = sum(layer.weight_elements for layer in result.layers)
    assert sum(p.numel() for p in model.parameters() if p.dim() > 1) < weights
    with torch.no_grad():
        want = model(IMAGES[:8])
        again = sbs.quantized_network(copy.deepcopy(trained), sbs.NetworkSpec("Net"), result.policy)
        again.load_state_dict(model.state_dict())
        torch.testing.assert_close(again.eval()(IMAGES[:8]), want, atol=1e-3, rtol=1e-3)
        assert torch.equal(pickle.loads(pickle.dumps(model))(IMAGES[:8]), want)
        assert torch.equal(copy.deepcopy(model)(IMAGES[:8]), want)
    model.train()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    F.cross_entropy(model(IMAGES[:64]), LABELS[:64]).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert any(not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    model.eval()


def test_a_result_compiles_as_one_graph(result: Compressed) -> None:
    """Without the kernels of this project, which a compiler cannot see into."""
    model = copy.deepcopy(result.model)
    compiled = torch.compile(model, fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(IMAGES[:8]), model(IMAGES[:8]), atol=1e-2, rtol=1e-2)
    gradients = []
    for network in (model.train(), torch.compile(model, backend="aot_eager", fullgraph=True)):
        model.zero_grad()
        F.cross_entropy(network(IMAGES[:64]), LABELS[:64]).backward()  # type: ignore[no-untyped-call]
        gradients.append(
            {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        )
    # Levels are often equal, and then max pooling can pass a gradient to either.
    behind = [name for name in gradients[0] if name.startswith(("third", "hidden", "fc"))]
    assert {"third.weight", "third.weight_interval", "fc.activation_interval"} < set(behind)
    for name in behind:
        torch.testing.assert_close(gradients[1][name], gradients[0][name], atol=1e-6, rtol=1e-3)


def test_files_hold_the_same_network(
    trained: nn.Module, result: Compressed, tmp_path: Path
) -> None:
    sizes = result.save(tmp_path / "net.sbs")
    assert sizes.claimed < result.cost("memory")  # which has the activations too
    again = sbs.load(tmp_path / "net.sbs", trained)
    with torch.no_grad():
        want = result.model(IMAGES[TRAINING:])
        torch.testing.assert_close(again(IMAGES[TRAINING:]), want, atol=1e-3, rtol=1e-3)
    result.export(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (got,) = session.run(None, {session.get_inputs()[0].name: IMAGES[TRAINING:].numpy()})
    assert torch.equal(torch.tensor(got).argmax(1), want.argmax(1))
    with pytest.raises(SBSError, match=r"give the network before compression too: sbs\.load\(path"):
        sbs.load(tmp_path / "net.sbs")


def test_several_targets_make_a_front(trained: nn.Module, tmp_path: Path) -> None:
    options: dict[str, Any] = {"search_epochs": 5, "epochs": 1, "verbose": False}
    options |= {"val_loader": VALIDATION, "checkpoint": tmp_path / "states"}
    found = sbs.front(trained, loader(), ["4-bit", 0.005], **options)
    table = found.table()
    assert list(table["target"]) == ["4-bit", "0.005 x full", "full precision"]
    four, less = found.results
    assert list(table["cost"]) == [four.cost(), less.cost(), four.full_cost()]
    assert list(table["score"])[:2] == [one.score for one in found.results]
    assert "full precision" in str(found)
    found.plot(tmp_path / "front.svg")
    assert "<svg" in (tmp_path / "front.svg").read_text()
    again = sbs.front(trained, loader(), ["4-bit", 0.005], **options)
    assert [one.policy for one in again.results] == [one.policy for one in found.results]
    with pytest.raises(SBSError, match="one front has one cost, not bops, memory"):
        sbs.front(trained, loader(), ["4-bit", "memory: 0.1"])
    del options["val_loader"]
    with pytest.raises(SBSError, match="give val_loader"):
        sbs.front(trained, loader(), [0.005], **options).plot(tmp_path / "none.svg")


@pytest.mark.parametrize("target", ["latency: 20 ms", "energy: 3 mJ", "table:costs.csv: 4-bit"])
def test_costs_that_know_no_full_precision_are_compared_with_the_highest_bits(
    result: Compressed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = product((2, 4, 8), repeat=2)
    rows = [(layer, *pair, float(sum(pair))) for pair in pairs for layer in result.layers]
    write_table(rows, Path("costs.csv"))
    aimed = replace(result, goal=Goal.parse(target))
    eight = sbs.uniform_policy("Net", [layer.name for layer in result.layers], 8)
    full = sbs.policy_cost(result.layers, result.prunables, eight, aimed.goal.resource)
    assert (aimed.full_bits(), aimed.full_cost()) == (8, full)
    text = str(aimed)
    assert re.search(rf"{aimed.goal.resource}: .* at 8 bits \(.* times less\)", text)
    assert re.search(r"bops: .* M BOPs at full precision \(.* times less\)", text)
    table = Front((aimed,)).table()
    assert list(table["target"]) == [aimed.goal.words, "full precision, cost at 8 bits"]
    assert table["share"][0] == aimed.cost() / full < 1


class KilledError(Exception):
    pass


@pytest.mark.parametrize(("stage", "epoch"), [("search", 3), ("search", 6), ("finetune", 1)])
def test_a_killed_call_goes_on_where_it_was(
    trained: nn.Module, result: Compressed, tmp_path: Path, stage: str, epoch: int
) -> None:
    seen: list[tuple[str, int]] = []

    def kill(end: EpochEnd) -> None:
        seen.append((end.stage, end.epoch))
        if seen[-1] == (stage, epoch) and not again:
            raise KilledError

    again = False
    with pytest.raises(KilledError):
        compressed(trained, val_loader=VALIDATION, checkpoint=tmp_path, callbacks=[kill])
    again = True
    resumed = compressed(trained, val_loader=VALIDATION, checkpoint=tmp_path, callbacks=[kill])
    assert len(seen) == len(set(seen)) == 8
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, result.model.state_dict()[name]), name
    assert resumed.policy == result.policy
    assert resumed.score == result.score


def test_a_finished_call_returns_at_once_and_another_one_starts_anew(
    trained: nn.Module, tmp_path: Path
) -> None:
    epochs: list[str] = []
    options = {"checkpoint": tmp_path, "callbacks": [lambda end: epochs.append(end.stage)]}
    first = compressed(trained, **options)
    assert epochs == ["search"] * 6 + ["finetune"] * 2
    again = compressed(trained, **options)
    assert len(epochs) == 8
    assert again.policy == first.policy
    compressed(trained, 0.02, **options)
    assert len(epochs) == 16


def test_the_same_policy_from_other_weights_is_fine_tuned_anew(
    trained: nn.Module, tmp_path: Path
) -> None:
    stages: list[str] = []
    options = {"checkpoint": tmp_path, "callbacks": [lambda end: stages.append(end.stage)]}
    first = compressed(trained, "8-bit", prune=False, epochs=1, **options)
    other = compressed(trained, "8-bit", prune=False, epochs=1, search_epochs=7, **options)
    assert other.policy == first.policy
    assert "target 8-bit: the network costs no more at 8 bits; nothing had to go" in str(first)
    assert stages.count("finetune") == 2


def test_callbacks_get_the_network_and_the_time_left(trained: nn.Module) -> None:
    ends: list[EpochEnd] = []

    def look(end: EpochEnd) -> None:
        ends.append(end)
        with torch.no_grad():  # does not disturb the training
            end.model.eval()(IMAGES[:4])

    looked = compressed(trained, callbacks=[look])
    assert looked.policy == compressed(trained).policy
    assert ends[0].seconds_left > ends[-1].seconds_left == 0
    assert {"loss", "cost", "penalty"} <= ends[0].numbers.keys()


def weighted(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    logits = model(batch["x"])
    return (F.cross_entropy(logits, batch["y"], reduction="none") * batch["w"]).mean()


def test_other_batches_losses_optimizers_and_schedules(trained: nn.Module) -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[dict[str, Tensor]]:
            for x, y in zip(IMAGES[:640].split(64), LABELS[:640].split(64), strict=True):
                yield {"x": x, "y": y, "w": torch.ones(len(y))}

    rates: list[float] = []

    def adam(parameters: Any) -> torch.optim.Optimizer:
        made = torch.optim.AdamW(parameters, lr=1e-3)
        made.register_step_pre_hook(lambda one, *_: rates.append(one.param_groups[0]["lr"]))
        return made

    result = sbs.compress(
        trained,
        DataLoader(Stream(), batch_size=None),
        "memory: 0.1",
        loss=weighted,
        val_loader=list(Stream()),
        example_input=IMAGES[:1],
        optimizer=adam,
        schedule=lambda share: 1 - share / 2,
        search_epochs=10,
        epochs=1,
        verbose=False,
    )
    assert result.cost() <= 0.1 * result.full_cost("memory")
    assert len(rates) == 110
    assert rates[0] == rates[100] == 1e-3
    assert rates[99] == pytest.approx(1e-3 * (1 - 0.99 / 2))
    with torch.no_grad():
        losses = [float(weighted(result.model, batch)) for batch in Stream()]
    assert result.score == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_the_example_in_the_documentation_is_true() -> None:
    failed, tried = doctest.testmod(run)
    assert tried > 0
    assert failed == 0
